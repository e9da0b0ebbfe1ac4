"""An index of run folders, in SQLite: which runs have which settings, states and values.

The folders are the truth. The index is brought up to date before each question, by the names,
sizes and times of a run's small files; it can be deleted at any time. Torch is not imported.

    runs(path, signature, record)   record: what `slotlab runs --json` prints of a run
    facts(path, name, value)        one row for each fact that a filter can name:
        run_id name seed state reason step loss images_per_second seconds
        SPEC.PATH                   each setting, such as model.encoder.name
        METRIC, EVALUATION/METRIC   the model's mean, of the evaluation that the run's spec declares
                                    (of the newest, where it lacks the metric), and of each
"""

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from slotlab.framework.spec.errors import shorten
from slotlab.framework.spec.scalars import scalar
from slotlab.framework.study.record import facts, read_record, run_folders, signature
from slotlab.framework.study.run_status import State
from slotlab.framework.system.cache import user_cache
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

NAME = "index.sqlite"
PATIENCE = 10.0
"""Seconds to wait for an index that another process is writing."""
VERSION = 2
"""Version of the tables; an index of another version is made anew."""
_TABLES = """
CREATE TABLE runs (path TEXT PRIMARY KEY, signature TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE facts (path TEXT NOT NULL, name TEXT NOT NULL, value);
CREATE INDEX facts_of_a_run ON facts (path);
CREATE INDEX facts_by_value ON facts (name, value);
"""
Answer = TypeVar("Answer")
_FILTER = re.compile(r"\s*([^\s=!<>]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")


@dataclass(frozen=True)
class RunFilter:
    """A condition on a fact of runs: `model.encoder.name=cnn`, `ari>0.5`."""

    name: str
    operator: str
    value: Any

    @classmethod
    def read(cls, text: str) -> "RunFilter":
        """Read a filter as it is typed.

        Raises:
            SlotlabError: if it is not a filter.
        """
        match = _FILTER.fullmatch(text)
        if match is None:
            raise SlotlabError(f"--where {text}: write NAME=VALUE, or !=, <, <=, >, >= in place of =")
        try:
            value = scalar(match[3], quoted=False, folder=Path())
        except ValueError as error:
            raise SlotlabError(f"--where {shorten(text)}: {error}") from None
        one = cls(match[1], match[2], str(value) if isinstance(value, str) else value)
        one.check(text)
        return one

    def check(self, text: str) -> None:
        """Refuse a filter that no run could match; `text` is the filter as it was typed.

        Raises:
            SlotlabError: for an unknown state, and for text after `<`, `<=`, `>` or `>=`.
        """
        known = get_args(State)
        if self.name == "state" and self.value not in known:
            hint = f"{suggest(str(self.value), known)} (states: {', '.join(known)})"
            raise SlotlabError(f"--where {text}: there is no state '{self.value}'{hint}")
        if self.operator not in ("=", "!=") and not isinstance(self.value, int | float):
            raise SlotlabError(f"--where {text}: {self.operator} takes a number, got '{self.value}'")


@dataclass(frozen=True)
class Index:
    """The index of one folder of runs."""

    folder: Path

    @property
    def path(self) -> Path:
        """The database; it lies in the user's cache if the folder cannot be written."""
        if os.access(self.folder, os.W_OK):
            return self.folder / NAME
        mark = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16]
        return user_cache() / "indexes" / f"{mark}.sqlite"

    def refresh(self) -> int:
        """Bring the index up to date, and return how many runs were read. Processes may do so at once.

        Raises:
            SlotlabError: if there is no such folder.
        """
        return self._ask(self._fill)

    def _fill(self, database: sqlite3.Connection) -> int:
        if not self.folder.is_dir():
            raise SlotlabError(f"there is no folder of runs {self.folder}")
        now = {printable(path.name): path for path in run_folders(self.folder)}
        marks = {name: signature(path) for name, path in now.items()}
        known = dict(database.execute("SELECT path, signature FROM runs"))
        changed = [name for name, mark in marks.items() if known.get(name) != mark]
        records = [(name, marks[name], read_record(now[name])) for name in changed]
        with database:  # one transaction: others see all of it or nothing
            database.execute("BEGIN IMMEDIATE")
            for name in (*changed, *(known.keys() - now.keys())):
                database.execute("DELETE FROM runs WHERE path = ?", (name,))
                database.execute("DELETE FROM facts WHERE path = ?", (name,))
            for name, mark, record in records:
                database.execute("INSERT INTO runs VALUES (?, ?, ?)", (name, mark, json.dumps(record)))
                rows = ((name, printable(key), _plain(value)) for key, value in facts(record))
                database.executemany("INSERT INTO facts VALUES (?, ?, ?)", rows)
        return len(changed)

    def find(self, filters: Sequence[RunFilter] = (), show: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return the records of the runs that match all filters, sorted by path, as they are now.

        Raises:
            SlotlabError: if there is no such folder, or if no run has a name of the filters or of
                `show`.
        """

        def search(database: sqlite3.Connection) -> list[dict[str, Any]]:
            self._fill(database)
            names = {name for (name,) in database.execute("SELECT DISTINCT name FROM facts")}
            for name in (*(one.name for one in filters), *show):
                if names and name not in names:
                    raise SlotlabError(f"no run has '{name}'{suggest(name, names)}")
            wheres = " AND ".join(["1", *(_where(one) for one in filters)])
            words = [word for one in filters for word in (one.name, _plain(one.value))]
            query = f"SELECT record FROM runs WHERE {wheres} ORDER BY path"
            return [_whole(record) for (record,) in database.execute(query, words)]

        return self._ask(search)

    def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Query the index; a damaged one is made anew; one that cannot be opened or written is left alone.

        The folders are the truth: at worst all runs are read again, into memory.
        """
        place = self.path
        try:
            with _open(place) as database:
                return question(database)
        except (sqlite3.Error, OSError) as error:
            if not _is_busy(error):
                with suppress(sqlite3.Error, OSError):
                    place.unlink(missing_ok=True)
                    with _open(place) as database:
                        return question(database)
        with _open(None) as database:
            return question(database)


@contextmanager
def _open(place: Path | None) -> Iterator[sqlite3.Connection]:
    """Open an index, with its tables; None for one in memory."""
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
    name = ":memory:" if place is None else place
    with closing(sqlite3.connect(name, timeout=PATIENCE, isolation_level=None)) as database:
        if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            _create(database)
        yield database


def _is_busy(error: Exception) -> bool:
    """Return whether an index is undamaged, and only cannot be written now or here."""
    names = (
        "SQLITE_BUSY",
        "SQLITE_LOCKED",
        "SQLITE_READONLY",
        "SQLITE_FULL",
        "SQLITE_IOERR",
        "SQLITE_CANTOPEN",
    )
    return str(getattr(error, "sqlite_errorname", "")).startswith(names)


def _whole(record: str) -> dict[str, Any]:
    """Read a record of the index.

    Raises:
        sqlite3.DatabaseError: if it is damaged.
    """
    try:
        found = json.loads(record)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, dict) or not {"run", "state", "metrics", "settings"} <= found.keys():
        raise sqlite3.DatabaseError("a record of the index is damaged")
    return found


def _create(database: sqlite3.Connection) -> None:
    database.execute("BEGIN EXCLUSIVE")
    if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:  # another process was first
        for table in ("runs", "facts"):
            database.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in filter(str.strip, _TABLES.split(";")):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")


def _where(one: RunFilter) -> str:
    # The operator is one of six; name and value are bound.
    operator = {"=": "IS", "!=": "IS NOT"}.get(one.operator, one.operator)
    return f"EXISTS (SELECT 1 FROM facts WHERE path = runs.path AND name = ? AND value {operator} ?)"


def _plain(value: Any) -> Any:
    """Return a value as SQLite holds it."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return float(value)
    if isinstance(value, str):
        return printable(value)
    return value if isinstance(value, int | float | None) else json.dumps(value)


def printable(text: str) -> str:
    """Return text that UTF-8 can encode: bytes of a file name that are not valid become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
