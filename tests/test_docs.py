"""The documentation is true: its walk runs as written, and it names all that there is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from slotlab.framework.cli.main import app
from slotlab.registry import KINDS, hookspecs

DOCS = Path(__file__).resolve().parents[1] / "docs"
FENCE = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    """Return (language, file name or empty, text) of each fenced block."""
    return FENCE.findall((DOCS / page).read_text())


def commands(text):
    """Return (command, lines its output must hold in this order) of a console block."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def run(command, folder):
    program, *words = shlex.split(command)
    path = Path(sys.executable).parent / program
    return subprocess.run([path, *words], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_walk_of_writing_a_plugin_runs_as_written(tmp_path):
    ran = 0
    for language, name, text in blocks("how_to/writing_a_plugin.md"):
        if name:
            (tmp_path / name).write_text(text)
        if language != "console":
            continue
        for command, expected in commands(text):
            result = run(command, tmp_path)
            assert "Traceback" not in result.stderr, result.stderr
            fails = any(line.startswith("error:") for line in expected)
            assert (result.returncode != 0) == fails, result.stdout + result.stderr
            rest = result.stdout
            for line in expected:
                assert line in rest, f"{command}\nshould print: {line}\nprinted: {result.stdout}"
                rest = rest.partition(line)[2]
            ran += 1
    assert ran >= 5
    assert (tmp_path / "first_run" / "plugins" / "dilated_cnn.py").is_file()
    assert (tmp_path / "result.json").is_file()


def test_every_kind_has_a_documented_hook_and_stands_in_the_architecture():
    text = (DOCS / "explanation" / "architecture.md").read_text()
    for kind in KINDS.values():
        hook = getattr(hookspecs, kind.hook)
        assert hook.__doc__
        assert "Yield" in hook.__doc__
        assert re.search(rf"\b{kind.name}\b", text), kind.name


def test_every_hook_has_a_kind():
    hooks = {name for name in vars(hookspecs) if name.startswith("slotlab_")}
    assert hooks == {"slotlab_kinds", *(kind.hook for kind in KINDS.values())}


def test_every_command_is_in_the_readme():
    text = (DOCS.parent / "README.md").read_text()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        assert f"`slotlab {name}" in text, name


def test_every_component_is_in_the_changelog(registry):
    text = (DOCS.parent / "CHANGELOG.md").read_text()
    for item in registry.all():
        assert f"`{item.component.name}`" in text, item


def test_every_metric_is_in_the_tables_of_its_page(registry):
    named = re.findall(r"^\| `(\w+)` \|", (DOCS / "reference" / "metrics.md").read_text(), re.MULTILINE)
    metrics = [item.component.name for item in registry.all() if item.kind == "metric"]
    assert sorted(named) == sorted(metrics)


def test_the_metric_of_the_metrics_page_works(tmp_path):
    ((_, _, text),) = (block for block in blocks("reference/metrics.md") if block[0] == "python")
    (tmp_path / "best_object.py").write_text(text)
    plugin = str(tmp_path / "best_object.py")
    result = run(f"slotlab show metric best_object --plugin {plugin}", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "IoU of the object that is found best" in result.stdout


def test_every_section_of_a_spec_is_in_the_docs():
    from slotlab.framework.spec.data import DataSpec
    from slotlab.framework.spec.schema import ExperimentSpec
    from slotlab.framework.spec.training import PhaseSpec
    from slotlab.plugins.models.slot_autoencoder import SlotAutoencoderConfig

    text = (DOCS / "reference" / "specs.md").read_text()
    for model in (ExperimentSpec, DataSpec, SlotAutoencoderConfig, PhaseSpec):
        for key in model.model_fields:
            assert re.search(rf"\b{key}\b", text), f"{model.__name__}.{key}"


def test_links_between_pages_lead_somewhere():
    for page in (*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_pages_that_code_and_specs_name_are_there():
    root = DOCS.parent
    for folder in ("registry", "framework", "plugins", "slotlab", "experiments", "benchmarks", "tests"):
        for path in (*(root / folder).rglob("*.py"), *(root / folder).rglob("*.yaml")):
            for page in re.findall(r"\bdocs/[\w/]+\.md\b", path.read_text()):
                assert (root / page).is_file(), f"{path.relative_to(root)} names {page}"
