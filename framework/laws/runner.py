"""Laws checked on components: one verdict for each law and component."""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.laws.blame import raised_at
from slotlab.framework.laws.exceptions import declared
from slotlab.framework.laws.kinds import laws_of
from slotlab.framework.laws.subject import Subject, streams_restored
from slotlab.framework.laws.verdict import Broken, Law, Place, Skip, State, Verdict
from slotlab.registry import Registered, Registry, SlotlabError
from slotlab.registry.component import suggest
from slotlab.registry.errors import describe

UNKNOWN = "exceptions name laws"


def check(
    items: Iterable[Registered],
    registry: Registry,
    settings: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
    *,
    cheap: bool = False,
) -> list[Verdict]:
    """Check every law on components.

    Args:
        items: the components.
        registry: where the components are that their settings name.
        settings: by kind and name of a component.
        cheap: only the laws that call nothing of what is built.
    """
    found: list[Verdict] = []
    for item in items:
        given = (settings or {}).get((item.kind, item.component.name), {})
        subject = Subject(item, registry, given, code_files_of(item, registry))
        found += check_one(subject, cheap=cheap)
    return found


def code_files_of(item: Registered, registry: Registry) -> tuple[str, ...]:
    """Return the Python files of the plugin that a component comes from."""
    code = next((one for one in registry.files if one.path.resolve() == item.path), None)
    if code is None:
        return ()
    names = [name for name in code.files if name.endswith(".py") and name != code.name]
    return (str(code.path.resolve()), *(str(code.root / name) for name in names))


def check_one(subject: Subject, *, cheap: bool = False) -> list[Verdict]:
    """Check every law on one component; what raises breaks the law and ends nothing."""
    exceptions = declared(subject)
    unmet: set[str] = set()
    found = []
    for law in laws_of(subject.kind):
        if cheap and not law.cheap:
            continue
        lacking = next((name for name in law.needs if name in unmet), None)
        if lacking is None:
            found.append(one_law(law, subject, exceptions.get(law.name)))
        else:
            text = f"it says nothing unless '{lacking}' holds"
            found.append(made(subject, law.name, "skipped", text))
        if lacking is not None or found[-1].state in ("failed", "excepted"):
            unmet.add(law.name)
    known = [law.name for law in laws_of(subject.kind)]
    for name in sorted(set(exceptions) - set(known)):
        text = f"there is no law '{name}'{suggest(str(name), known)}"
        found.append(
            made(subject, UNKNOWN, "failed", text, "write the law's name", subject.place("EXCEPTIONS"))
        )
    return found


def one_law(law: Law, subject: Subject, exception: str | None) -> Verdict:
    """Check one law."""
    try:
        tried(law, subject)
    except Skip as skip:
        return made(subject, law.name, "skipped", str(skip))
    except Broken as broken:
        if exception is not None:
            return made(subject, law.name, "excepted", str(exception))
        place = broken.place or subject.place()
        return made(subject, law.name, "failed", broken.reason, broken.repair or law.repair, place)
    if exception is not None:
        text = f"it holds, and is declared as an exception ({exception})"
        return made(subject, law.name, "failed", text, "remove it from EXCEPTIONS", subject.place())
    return made(subject, law.name, "passed")


def tried(law: Law, subject: Subject) -> None:
    """Call a law's function with everything around it as it was before.

    Raises:
        Broken: for whatever else than `Skip` is raised.
        Skip: by the law.
    """
    try:
        with streams_restored(), warnings.catch_warnings(), redirect_stdout(sys.stderr), torch.enable_grad():
            warnings.simplefilter("ignore")
            law.check(subject)
    except (Broken, Skip, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, SlotlabError) else describe(error)
        raise Broken(text, place=raised_at(error, subject.files)) from error


def made(
    subject: Subject,
    law: str,
    state: State,
    reason: str = "",
    repair: str = "",
    place: Place | None = None,
) -> Verdict:
    """Return a verdict, its file as the shortest path from here."""
    file = "" if place is None else shown(place.file)
    return Verdict(
        kind=subject.kind,
        component=subject.name,
        law=law,
        state=state,
        reason=" ".join(reason.split()),
        repair=repair,
        file=file,
        line=None if place is None else place.line,
    )


def shown(file: Path) -> str:
    """Return a path as a user writes it: relative to the current folder, if it lies below."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def failures(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts that say that something is wrong."""
    return [one for one in verdicts if one.state == "failed"]
