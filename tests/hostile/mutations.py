"""What may happen to a file: values of other types, keys lost, bytes lost, something else in its place.

Everything is drawn from one seeded generator, so that a case can be had again by its number.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, -1e308,
    float("nan"), float("inf"), float("-inf"), "", " ", "text", "7", "[v1]", "[/x]", "[bold", "\x1b[31m",
    "a\nb", "a\tb", "\x00", "\ud800", "ünï", "x" * 300, "x" * 5000, "../..", "/etc/passwd", "a/b", ".", "..",
    "<script>", "${a}", "$x_{", "{}", "%s", "&|_#~^\\", "'", '"', [], {}, [[]], [None], ["a", 1], [{}], {"": None},
    {"name": 1}, {"name": "cnn"}, {"a": {"b": [1, {"c": None}]}}, "null", "1e999", "2024-01-01",
)  # fmt: skip
BYTES: tuple[bytes, ...] = (
    b"", b"\n", b"{", b"[", b"null", b"7", b"[]", b"{}", b"[{}]", b"\xff\xfe\x00", b"\x00" * 100, b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"), b"[" * 3000, b'{"a":' * 3000, b"[" * 100_000, b"a: [\n", b"- " * 3000, b"9" * 5000,
    b'{"a": ' + b"9" * 5000 + b"}", b'"' + b"x" * 100_000, b"\r\r\r", b"a: &a [*a]\n", b"\t", b"---\n---\n",
    b"a: !!python/object:os.system {}\n", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"<<: 1\n", b'{"format": 2}',
    b"id,method\nx,model\n", b'"id","meth\n', b"SQLite format 3\x00",
)  # fmt: skip


def deep(levels: int) -> Any:
    """Return lists in lists."""
    found: Any = None
    for _ in range(levels):
        found = [found]
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in JSON data."""
    yield path
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, item in items:
        yield from places(item, (*path, key))


def put(data: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """Return data with the container at the end of a path changed; data itself for the empty path."""
    twin = json.loads(json.dumps(data))
    here = twin
    for key in path[:-1]:
        here = here[key]
    if path:
        change(here, path[-1])
    return twin


def value(chance: random.Random) -> Any:
    """Draw a value that hardly belongs where it is put."""
    return deep(chance.choice((10, 70, 900))) if chance.random() < 0.03 else chance.choice(VALUES)


def mutated(data: Any, chance: random.Random) -> Any:
    """Return JSON data with one to three values, keys or items changed."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        path = chance.choice(list(places(data)))
        if not path:
            continue
        kind = chance.random()
        if kind < 0.7:
            new = value(chance)
            data = put(data, path, lambda here, key, new=new: here.__setitem__(key, new))
        elif kind < 0.9:
            data = put(data, path, lambda here, key: here.__delitem__(key))
        else:
            name = chance.choice(("extra", "", "name", "\x1b[2J", "a" * 300, "../x"))
            data = put(data, path, lambda here, key, name=name: here.__setitem__(name, here[key])
                       if isinstance(here, dict) else here.append(here[key]))  # fmt: skip
        if len(json.dumps(data)) > 200_000:
            break
    return data


def torn(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with some of them lost, changed, doubled, or all of them others."""
    kind = chance.random()
    if kind < 0.3 or not content:
        return chance.choice(BYTES)
    start = chance.randrange(len(content))
    if kind < 0.5:
        return content[:start]
    stop = min(len(content), start + chance.randint(1, 40))
    if kind < 0.7:
        return content[:start] + content[stop:]
    if kind < 0.8:
        return content[:stop] + content[start:]
    junk = bytes(
        chance.choice(b"\x00\xff{}[]:,-\"'&*!|>%@`#\n\t 0e9\xc3~<$") for _ in range(chance.randint(1, 6))
    )
    return content[:start] + junk + content[stop:]


def instead(path: Path, chance: random.Random) -> None:
    """Put something that is no file where a file was."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    match chance.randrange(6):
        case 0:
            (path / "inside").mkdir(parents=True)
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to(path.name)
        case 3:
            path.symlink_to("nowhere")
        case 4:
            path.symlink_to("/dev/zero")
        case 5:
            path.symlink_to("/")
