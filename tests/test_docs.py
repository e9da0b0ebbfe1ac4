"""The documentation is true: its walk runs as written, and it names all that there is."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from slotlab.framework.cli.main import app
from slotlab.registry import KINDS, hookspecs

DOCS = Path(__file__).resolve().parents[1] / "docs"
FENCE = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANY = re.compile(r"^```(\w*)(?: file=\S+)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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


def typed(lines):
    """Split the lines under a command into what is typed at Python's debugger and what is printed."""
    asked = [line.removeprefix("(Pdb) ") for line in lines if line.startswith("(Pdb) ")]
    return "".join(f"{line}\n" for line in asked), [line for line in lines if not line.startswith("(Pdb) ")]


def run(command, folder, answers=""):
    program, *words = shlex.split(command)
    line = [Path(sys.executable).parent / program, *words]
    return subprocess.run(line, cwd=folder, input=answers, capture_output=True, text=True, timeout=300)


PLUGIN_PAGES = sorted(
    page.relative_to(DOCS).as_posix() for page in (DOCS / "how_to" / "plugins").glob("*.md")
)
TUTORIALS = ("first_comparison", "first_plugin", "clevrtex", "own_pictures", "video", "cluster")
OTHERS = ("how_to/debugging.md", "how_to/publishing.md", "how_to/scoring.md")
WALKS = [*(f"tutorials/{name}.md" for name in TUTORIALS), *OTHERS, *PLUGIN_PAGES]
"""Pages that begin in an empty folder: their files are written and their commands run, in the order of the page."""


@pytest.mark.slow
@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("page", WALKS)
def test_a_walk_runs_as_written(page, slotlab):
    ran = 0
    for language, name, text in blocks(page):
        if name:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        if language == "python" and not name and text.startswith("import "):
            exec(compile(text, page, "exec"), {})
        if language != "console":
            continue
        for command, lines in commands(text):
            answers, expected = typed(lines)
            code, out, err = said(command, slotlab, answers)
            assert "Traceback" not in err, err
            fails = any(line.startswith("error:") or ": failed: " in line for line in expected)
            assert (code != 0) == fails, f"{command}\n{out}{err}"
            rest = out + err
            for line in expected:
                assert line in rest, f"{command}\nshould print: {line}\nprinted: {out}{err}"
                rest = rest.partition(line)[2]
            ran += 1
    assert ran >= 1


def said(command, slotlab, answers=""):
    """Run a command, slotlab's in this process; return (exit code, standard output, standard error)."""
    program, *words = shlex.split(command)
    if program == "slotlab" and not answers:
        return slotlab(*words)
    done = run(command, Path.cwd(), answers)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_shipped_ablations_become_small_as_the_page_says(slotlab):
    page = (DOCS / "how_to" / "ablations.md").read_text()
    (command,) = re.findall(r"^\$ slotlab (ablate slotlab:ablations/iterations .*)$", page, re.MULTILINE)
    for name, runs in (("iterations", 8), ("slots", 6), ("encoder_x_init", 8)):
        words = shlex.split(command.replace("iterations", name))
        code, out, err = slotlab("validate", words[1], *words[2:])
        assert code == 0, err
        assert f"{runs} runs" in out, out


@pytest.mark.slow
@pytest.mark.usefixtures("blank_figures")
def test_a_small_ablation_goes_to_its_table(slotlab):
    page = (DOCS / "how_to" / "ablations.md").read_text()
    for command in re.findall(r"^\$ slotlab (.*iterations.*)$", page, re.MULTILINE):
        code, out, err = slotlab(*shlex.split(command.replace("steps: 100", "steps: 4")))
        assert code == 0, err
    assert "iterations=5" in out


def test_the_first_page_has_a_complete_path():
    """Install, see, run, compare: the study that is compared is the one that is run."""
    text = "\n".join(text for language, _, text in blocks("index.md") if language == "console")
    lines = [command.partition("#")[0].strip() for command, _ in commands(text)]
    assert lines[0].startswith("pip install ")
    shown, ran, compared = (shlex.split(line) for line in lines[1:4])
    assert shown == [*ran, "--dry-run"]
    assert ran[1] == "ablate"
    assert compared == ["slotlab", "compare", f"studies/{ran[2].rpartition('/')[2]}"]


def test_every_kind_has_a_page_with_a_complete_example():
    for kind in (*KINDS, "kind"):
        page = f"how_to/plugins/{kind}.md"
        assert page in PLUGIN_PAGES
        assert any(language == "console" for language, _, _ in blocks(page)), page
        hook = "slotlab_kinds" if kind == "kind" else KINDS[kind].hook
        shown = [text for language, name, text in blocks(page) if language == "python" and name]
        assert kind == "kind" or any(f"def {hook}()" in text for text in shown), page
        beginning = (DOCS / page).read_text().partition("\n```")[0]
        assert f"`slotlab new {kind} NAME`" in beginning, (
            f"{page} does not begin with the command of its kind"
        )


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


def test_every_dataset_is_on_a_page_of_datasets(registry):
    text = "".join(page.read_text() for page in (DOCS / "datasets").glob("*.md"))
    for item in registry.all("dataset"):
        assert f"`{item.component.name}`" in text, item


def test_where_a_dataset_is_published_is_a_link():
    """An address under `where` is for clicking; the archives at it may stand as code."""
    found = 0
    for page in (DOCS / "datasets").glob("*.md"):
        for line in re.findall(r"^\| where \|(.*)$", page.read_text(), re.MULTILINE):
            if "http" in line:
                assert re.search(r"<https?://[^>]+>|\]\(https?://", line), page.name
                found += 1
    assert found > 5


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


GENERATED = re.compile(
    r"docs/(zoo|gallery|reference/(spec_keys|ablation_keys|laws|(commands|components|errors|python)/\w+))\.md"
)
"""Pages that the site alone has; its build finds links to those that it lacks."""


def test_links_between_pages_lead_somewhere():
    for page in (*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            path = Path(os.path.normpath(page.parent / target))
            if not target.startswith("http") and not GENERATED.fullmatch(str(path.relative_to(DOCS.parent))):
                assert path.exists(), f"{page.name} -> {target}"


def test_pages_that_code_and_specs_name_are_there():
    root = DOCS.parent
    for folder in ("registry", "framework", "plugins", "slotlab", "experiments", "benchmarks", "tests"):
        for path in (*(root / folder).rglob("*.py"), *(root / folder).rglob("*.yaml")):
            for page in re.findall(r"\bdocs/[\w/]+\.md\b", path.read_text()):
                assert (root / page).is_file(), f"{path.relative_to(root)} names {page}"


SHOWN = re.compile(r"^(?:\$ )?(slotlab (?! )[^#\n]*?(?:\\\n[^#\n]*?)*)\s*(?:#.*)?$", re.MULTILINE)


def options_of():
    """Return the options of each command, by its words: `data inspect`."""
    found = {}

    def walk(command, words):
        below = getattr(command, "commands", None)
        if below is None:
            found[" ".join(words)] = {
                name for item in command.params for name in (*item.opts, *item.secondary_opts)
            }
        for name, one in (below or {}).items():
            walk(one, [*words, name])

    walk(typer.main.get_command(app), [])
    return found


def test_commands_that_are_shown_have_their_options():
    known = options_of()
    for page in (*DOCS.rglob("*.md"), DOCS.parent / "README.md"):
        shown = [
            text for language, text in ANY.findall(page.read_text()) if language in ("", "console", "text")
        ]
        for line in (found for text in shown for found in SHOWN.findall(text)):
            words = shlex.split(line.replace("\\\n", " "))[1:]
            name = next((name for name in (" ".join(words[:2]), words[0]) if name in known), None)
            assert name or words[0].startswith("-"), f"{page.name}: {line}"
            used = {word.partition("=")[0] for word in words if word.startswith("--") and name}
            assert used <= {*known.get(name, ()), "--help"}, f"{page.name}: {line}"
