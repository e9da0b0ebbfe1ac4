"""Texts that are shared, without the paths, user names and servers of their author.

Reports, exports of comparisons, trackers, provenance and summaries hold no absolute path, no user's
name, no server's address: a path is reduced to its last name. A run's spec.yaml keeps the paths that
it needs to be evaluated (see docs/explanation/trust.md).
"""

import getpass
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

GONE = "…"
_END = r"[^\s'\"`,;:()\[\]{}<>|=]"
"""A character of a path."""
_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s'\"`,()\[\]{}<>]*)", re.IGNORECASE)
_PUBLIC = re.compile(r"https?://([a-z0-9-]+\.)+[a-z]{2,}(/[^@]*)?", re.IGNORECASE)
"""A public web address: a host name with a dot, without port and user."""
_REMOTE = re.compile(r"\b[\w.-]+@[\w.-]+:[~/\w][^\s'\"`,]*")
_PATH = re.compile(
    rf"(?<![\w.~</\\{GONE}-])(?:~[\w.-]*/|/+(?={_END})|\.\.?/(?:[^\s'\"`,]*/)?\.\./|\.\./|[A-Za-z]:[\\/])(?:{_END}*)"
)
_INNER = re.compile(rf"{_END}*/{_END}*")


def nameless(text: str) -> str:
    """Return a text without absolute paths, home folders, users' names in paths and private addresses."""
    parts = _ADDRESS.split(text)
    return "".join(_address(part) if number % 2 else _bare(part) for number, part in enumerate(parts))


def _address(text: str) -> str:
    return text if _PUBLIC.fullmatch(text) else f"{text.partition(':')[0]}:{GONE}"


def _bare(text: str) -> str:
    for name, short in _homes():
        text = text.replace(name, short)
    text = _REMOTE.sub(GONE, text)
    text = _PATH.sub(lambda found: last(found[0]), text)
    return _INNER.sub(lambda found: "/".join(map(_hidden, found[0].split("/"))), text)


def nameless_data(value: Any) -> Any:
    """Return JSON data with every text, keys included, passed through `nameless`."""
    if isinstance(value, str):
        return nameless(value)
    if isinstance(value, Mapping):
        return {nameless(str(key)): nameless_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nameless_data(item) for item in value]
    return value


def nameless_words(words: Iterable[str]) -> list[str]:
    """Return a command line's words without paths and names; paths may hold spaces."""
    return [_nameless_word(word) for word in words]


def last(path: str) -> str:
    """Return a path's last name after an ellipsis; a home folder as `~`."""
    parts = [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..")]
    if not parts or (len(parts) == 1 and parts[0].startswith("~")):
        return "~" if parts else GONE
    return f"{GONE}/{parts[-1]}" if _hidden(parts[-1]) != GONE else GONE


def places(paths: Iterable[Path]) -> dict[Path, str]:
    """Return how to write each folder: as it was given, or relative to the parent that all have in common.

    Paths that were given relative to the current folder, and lie in it, do not reveal where it is.
    """
    every = list(dict.fromkeys(paths))
    far = [path for path in every if path.is_absolute() or ".." in path.parts]
    common = os.path.commonpath([path.absolute().parent for path in far]) if far else ""
    return {
        path: nameless(os.path.relpath(path.absolute(), common) if path in far else str(path))
        for path in every
    }


def own_names() -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the names of this process's user, and the home folder in all forms, for what hides more."""
    return _users(), tuple(form for form, _ in _homes())


def _nameless_word(word: str) -> str:
    option, equals, value = word.rpartition("=")
    if re.match(r"(?:~|/|\.\./|[A-Za-z]:[\\/])[^{}\[\]=]*$", value):
        return f"{nameless(option)}{equals}{last(_homeless(value))}"
    return nameless(word)


def _homeless(text: str) -> str:
    for name, short in _homes():
        text = text.replace(name, short)
    return text


def _hidden(part: str) -> str:
    return GONE if part in _users() else part


@lru_cache(maxsize=1)
def _found(home: str, *names: str) -> tuple[frozenset[str], tuple[tuple[str, str], ...]]:
    """Return the names of this process's user, and the home folder in all forms that occur in texts."""
    users = {name for name in (*names, Path(home).name) if len(name) > 1 and name not in ("root", "home")}
    forms = {home, os.path.realpath(home)} if len(Path(home).parts) > 1 else set()
    return frozenset(users), tuple((form, "~") for form in sorted(forms, key=len, reverse=True))


def _user() -> tuple[frozenset[str], tuple[tuple[str, str], ...]]:
    home, names = "/", [os.environ.get(key, "") for key in ("USER", "LOGNAME", "USERNAME")]
    with suppress(RuntimeError):
        home = str(Path.home())
    with suppress(OSError, KeyError, ImportError):
        names.append(getpass.getuser())
    return _found(home, *names)


def _users() -> frozenset[str]:
    return _user()[0]


def _homes() -> tuple[tuple[str, str], ...]:
    return _user()[1]
