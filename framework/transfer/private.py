"""What must not leave with a run: paths, names of users and hosts, private addresses, tokens.

Texts are passed through `nameless`, as all that slotlab shares. What is sent is more than that: files that
another version, a plugin or a hand has written. So names of users and hosts are hidden wherever they stand as
words, and what looks like a token is hidden too.
"""

import os
import re
import socket
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slotlab.framework.system.privacy import GONE, nameless, nameless_words, own_names

SECRET_NAME = re.compile(
    r"(?:.*[_.-])?(?:token|password|passwd|secret|api_?key|access_?key|secret_?key|credentials?)",
    re.IGNORECASE,
)
"""Names of settings and environment variables that hold secrets."""
TOKENS = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bsk-[\w-]{20,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----)?"
)
"""Tokens of services that are known by their form."""
ASSIGNED = re.compile(
    r"(\b(?:[\w.-]*[_.-])?(?:token|password|passwd|secret|api_?key|access_?key|secret_?key)['\"]?\s*[=:]\s*['\"]?)"
    r"[^\s'\",;]{6,}",
    re.IGNORECASE,
)
"""A secret after its name."""
HOMES = re.compile(r"(?:/home/|/Users/|\\Users\\)[\w.-]+")
"""Anyone's home folder."""
SHORTEST = 4
"""Names of users and hosts with fewer characters are hidden in paths alone: they may mean other things."""


@dataclass(frozen=True)
class Privacy:
    """What is hidden in the files of one run."""

    words: frozenset[str]
    """Names of users and hosts."""
    secrets: frozenset[str]
    """Values of secret environment variables."""
    homes: tuple[str, ...]
    """Folders of users of this machine."""

    @classmethod
    def of_process(cls, known: Iterable[str] = ()) -> "Privacy":
        """Return what is private to this process's user and machine.

        Args:
            known: words of the experiment itself, such as `demo`: they stay, also if a user is called so.
        """
        users, homes = own_names()
        host = socket.gethostname()
        names = {*users, host, host.partition(".")[0]} - {"localhost", *known}
        secrets = {
            value for name, value in os.environ.items() if SECRET_NAME.fullmatch(name) and len(value) > 7
        }
        words = frozenset(name for name in names if len(name) >= SHORTEST)
        return cls(words, frozenset(secrets), tuple(home for home in homes if len(Path(home).parts) > 2))

    @cached_property
    def _words(self) -> re.Pattern[str] | None:
        if not self.words:
            return None
        listed = "|".join(re.escape(word) for word in sorted(self.words, key=len, reverse=True))
        return re.compile(rf"(?<![A-Za-z0-9_])(?:{listed})(?![A-Za-z0-9_])")

    def text(self, text: str) -> str:
        """Return a text without what is private."""
        for secret in self.secrets:
            text = text.replace(secret, GONE)
        text = nameless(ASSIGNED.sub(rf"\1{GONE}", TOKENS.sub(GONE, text)))
        return text if self._words is None else self._words.sub(GONE, text)

    def data(self, value: Any, key: str = "") -> Any:
        """Return plain data with every text, keys included, without what is private."""
        if isinstance(value, str):
            return GONE if value and SECRET_NAME.fullmatch(key) else self.text(value)
        if isinstance(value, Mapping):
            made = OrderedDict if isinstance(value, OrderedDict) else dict
            return made(
                (self.text(name) if isinstance(name, str) else name, self.data(item, str(name)))
                for name, item in value.items()
            )
        if type(value) in (list, tuple):
            is_command = key == "command" and all(isinstance(one, str) for one in value)
            items = nameless_words(value) if is_command else value
            return type(value)(self.data(item, key) for item in items)
        return value

    def found(self, content: bytes) -> tuple[int, str] | None:
        """Return line and text of the first thing in a file that is surely private; None if there is none.

        This is for files that cannot be changed, such as the code of plugins: a path like `/usr/share` stays.
        """
        text = content.decode("utf-8", errors="replace")
        places = [(match.start(), match[0]) for match in self._certain(text)]
        if not places:
            return None
        at, what = min(places)
        return text.count("\n", 0, at) + 1, what

    def _certain(self, text: str) -> Iterable[re.Match[str]]:
        literal = [re.escape(one) for one in (*self.secrets, *self.homes)]
        yield from (found for one in literal if (found := re.search(one, text)))
        patterns = [HOMES, TOKENS, *([self._words] if self._words else [])]
        yield from (found for pattern in patterns if (found := pattern.search(text)))
