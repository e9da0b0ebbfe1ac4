"""The page of laws: what `slotlab check` tries, and what to do about each."""

import inspect
from collections.abc import Iterable, Iterator

from page import Page, escaped, led_to_pages, prose, table

from slotlab.framework.laws.general import GENERAL
from slotlab.framework.laws.kinds import LAWS
from slotlab.framework.laws.modules import MODULES
from slotlab.framework.laws.verdict import Law

INTRODUCTION = """# Laws

What [`slotlab check`](commands/check.md) tries on a component, by kind. The name of a law is what stands in
`EXCEPTIONS` where a component breaks it on purpose.
"""


def pages() -> Iterator[Page]:
    """Yield the page of laws."""
    parts = [
        INTRODUCTION,
        *chapter("Of every kind", GENERAL),
        *chapter("Of every kind that is a module", MODULES),
    ]
    for kind, laws in LAWS.items():
        own = [law for law in laws if law not in MODULES]
        if own:
            note = "" if len(own) == len(laws) else "Besides those of modules:\n"
            parts += chapter(f"`{kind}`", own, note)
    yield Page("reference/laws.md", "\n".join(parts))


def chapter(title: str, laws: Iterable[Law], note: str = "") -> list[str]:
    """Return the table of some laws under a heading."""
    rows = [
        (
            escaped(law.name),
            led_to_pages(prose(inspect.getdoc(law.check)).strip(), "../"),
            led_to_pages(escaped(law.repair), "../"),
        )
        for law in laws
    ]
    return [f"## {title}\n", note, table(("law", "checks", "repair"), rows)]
