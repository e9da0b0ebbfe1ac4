"""Components checked against the laws of their kind: `slotlab.check`, and `slotlab.laws` for pytest."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from slotlab.framework.api.given import Paths, paths_of
from slotlab.framework.api.settings import Settings, assignments
from slotlab.framework.laws.kinds import laws_of
from slotlab.framework.laws.runner import check as checked
from slotlab.framework.laws.selection import select, settings_of
from slotlab.framework.laws.verdict import Verdict
from slotlab.registry import Registered


def check(*what: str | Path, settings: Settings | None = None, plugins: Paths = ()) -> list[Verdict]:
    """Check components against the laws of their kind; one verdict for each law and component.

    What is wrong is in the verdicts, with the line and the repair, and is not raised.

    >>> import slotlab
    >>> verdicts = slotlab.check("position", "linear_grid")
    >>> [one for one in verdicts if one.state == "failed"]
    []

    Args:
        what: a plugin file; or the name of an installed package, or of its module; or a kind and a
            component's name.
        settings: of the components, such as `{"size": 4}`, or `{"NAME.size": 4}` for the one of this name; by
            default their defaults.
        plugins: single-file plugins that the components need besides.

    Raises:
        SlotlabError: if there is no such component, or a file cannot be loaded.
    """
    words = [str(word) for word in what]
    registry, items = select(words, paths_of(plugins, "a plugin"))
    return checked(items, registry, settings_of(assignments(settings), items))


def laws(*what: str | Path, settings: Settings | None = None, plugins: Paths = ()) -> Callable[..., None]:
    """Return a test for pytest, with one case for each law and component.

    In a test file one line is enough: `test_my_plugin = slotlab.laws("my_plugin.py")`.

    >>> import slotlab
    >>> test_positions = slotlab.laws("position", "linear_grid")

    Args:
        what: as for `check`; a relative path is looked for from the current folder.
        settings: as for `check`.
        plugins: as for `check`.

    Raises:
        SlotlabError: if there is no such component, or a file cannot be loaded.
    """
    import pytest

    registry, items = select([str(word) for word in what], paths_of(plugins, "a plugin"))
    given = settings_of(assignments(settings), items)
    cases = [(item, law.name) for item in items for law in laws_of(item.kind)]

    @cache
    def verdicts(kind: str, name: str) -> Sequence[Verdict]:
        return checked(
            [item for item in items if (item.kind, item.component.name) == (kind, name)], registry, given
        )

    @pytest.mark.parametrize(
        ("item", "law"), cases, ids=[f"{i.kind}-{i.component.name}-{law}" for i, law in cases]
    )
    def test_law(item: Registered, law: str) -> None:
        """One law, for one component."""
        every = verdicts(item.kind, item.component.name)
        found = next(one for one in every if one.law == law)
        if found.state == "failed":
            pytest.fail(str(found), pytrace=False)
        if found.state == "skipped":
            pytest.skip(found.reason)
        if law == every[0].law and (wrong := [one for one in every if one.law not in known(item.kind)]):
            pytest.fail("\n".join(map(str, wrong)), pytrace=False)

    test: Callable[..., None] = test_law
    return test


def known(kind: str) -> set[str]:
    """Return the names of the laws of a kind."""
    return {law.name for law in laws_of(kind)}


def result(what: Sequence[str], sets: Sequence[str], plugins: Sequence[Path]) -> dict[str, Any]:
    """Return what the command prints: whether all laws hold, and every verdict as data.

    Raises:
        SlotlabError: if there is no such component, or a file cannot be loaded.
    """
    registry, items = select(what, plugins)
    found = checked(items, registry, settings_of(sets, items))
    return {
        "what": " ".join(what),
        "holds": not any(one.state == "failed" for one in found),
        "components": [
            {"kind": item.kind, "name": item.component.name, "source": item.source} for item in items
        ],
        "verdicts": [vars(one) for one in found],
    }
