"""Exceptions that an author declares: laws that a component breaks on purpose, each with a reason.

`EXCEPTIONS: ClassVar = {"law": "reason"}` in a component's Config, or `EXCEPTIONS` at the top level of its
file: for every component in it, or by the component's name `{"name": {"law": "reason"}}`.
"""

import sys
from collections.abc import Mapping
from typing import Any

from slotlab.framework.laws.subject import Subject

NAME = "EXCEPTIONS"


def declared(subject: Subject) -> dict[str, str]:
    """Return the reasons by the names of laws, as a component's Config and its file declare them."""
    found: dict[str, str] = {}
    for source in (*modules(subject), subject.item.component.config):
        given: Any = getattr(source, NAME, None) or {}
        if isinstance(given, Mapping):
            own = given.get(subject.name)
            found |= {key: value for key, value in given.items() if not isinstance(value, Mapping)}
            found |= dict(own) if isinstance(own, Mapping) else {}
    return found


def modules(subject: Subject) -> list[Any]:
    """Return the modules that the component's own files were imported as."""
    files = set(subject.code_files or subject.files)
    return [one for one in list(sys.modules.values()) if getattr(one, "__file__", None) in files]
