"""Each mistake that a stranger made is caught by one law, which names the component, the line and the repair."""

import importlib.util
from pathlib import Path

import pytest

from slotlab.framework.laws.runner import check
from slotlab.framework.laws.selection import select


def table(name, file):
    """Import a table of mistakes that lies beside this file."""
    spec = importlib.util.spec_from_file_location(file, Path(__file__).with_name(f"{file}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


MISTAKES = {
    **table("ENCODERS", "wrong_encoders"),
    **table("PARTS", "wrong_parts"),
    **table("PREDICTORS", "wrong_predictors"),
    **table("OTHERS", "wrong_others"),
    **table("OBJECTIVES", "wrong_objectives"),
    **table("DYNAMICS", "wrong_dynamics"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught_by_its_law_alone(name, tmp_path):
    law, reason, repair, text = MISTAKES[name]
    Path("mine.py").write_text(text)
    registry, items = select(["mine.py"])
    verdicts = check(items, registry)
    (found,) = [one for one in verdicts if one.state == "failed"]
    assert found.law == law
    assert reason in found.reason
    assert repair in found.repair
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# here")]
    assert lines == [found.line]
    assert found.file == "mine.py"
    assert str(found).startswith(
        f"{items[0].kind} 'wrong': {law}: failed: {found.reason} (mine.py:{found.line}); "
    )


def test_the_objective_without_a_mistake_keeps_all_laws():
    Path("mine.py").write_text(table("RIGHT", "wrong_objectives"))
    registry, items = select(["mine.py"])
    verdicts = {one.law: one for one in check(items, registry)}
    assert [str(one) for one in verdicts.values() if one.state == "failed"] == []
    assert verdicts["it prepares each image alone"].state == "passed"
    pictures = verdicts["pictures are in range"]
    assert (pictures.state, pictures.reason) == ("skipped", "it makes no pictures of predictions")
