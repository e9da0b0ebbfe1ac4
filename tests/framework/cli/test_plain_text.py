"""Every user's text is printed as text: nothing in it is markup, mathematics, a color or a movement of the cursor."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from slotlab.framework.api import evaluating as jobs
from slotlab.framework.api.console import print_whole, styled, warn
from slotlab.framework.api.failures import Failures
from slotlab.framework.cli import evaluate as command
from slotlab.framework.cli import print_evaluation, watch
from slotlab.framework.cli.output import console
from slotlab.framework.compare.table_markup import escape_latex, escape_markdown
from slotlab.framework.system.file_names import LONGEST, fault, file_name
from slotlab.framework.system.terminal import visible
from slotlab.registry import SlotlabError

Slotlab = Callable[..., tuple[int, str, str]]
ODD = (
    "[v1]",
    "[",
    "[bold",
    "x[",
    "[bold]x",
    "[red]y[/red]",
    "[link=a]b[/link]",
    ":cat:",
    "a:smile:b",
    "\\[x]",
    "{x}",
    "%s",
)
"""What Rich would read as markup or emoji."""
PACKAGE = Path(command.__file__).parents[2]


@pytest.mark.parametrize("text", [*ODD, "x[/y]", "[/]", "[/x]"])
def test_a_console_prints_what_it_is_given(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    out.print(text, style="bold")
    table = Table(text, title=text)
    table.add_row(text)
    table.add_row(styled(text, "green"))
    print_whole(out, table)
    warn([text])
    printed, told = capsys.readouterr()
    assert printed.count(text) == 5
    assert told == f"warning: {text}\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\x07\x08\rb", r"a\x07\x08\rb"),
        ("a\x9b2Jb", r"a\x9b2Jb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\udcffb", r"a\udcffb"),
        ("ünï 检验 ± ↑", "ünï 检验 ± ↑"),
        ("two\nlines\tand", "two\nlines\tand"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert visible(text) == shown
    console().print(text, soft_wrap=True)
    warn([text])
    printed, told = capsys.readouterr()
    assert printed.expandtabs() == f"{shown}\n".expandtabs()
    assert told == f"warning: {shown}\n"


@given(st.text())
def test_visible_text_can_be_written_and_stays_as_it_is(text: str) -> None:
    shown = visible(text)
    assert shown.encode().decode() == shown == visible(shown)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", shown)


def test_no_module_goes_around_the_console() -> None:
    """Rich reads markup wherever it is not told otherwise, so that it is told in one place."""
    for path in sorted(PACKAGE.glob("framework/**/*.py")):
        text = path.read_text(encoding="utf-8")
        if path.name != "console.py" or path.parent.name != "api":
            assert not re.search(r"(?<!Plain)\bConsole\(|from rich\.(markup|text) ", text), path
            assert "from_markup" not in text, path
        assert "TextColumn(" not in text or text.count("TextColumn(") == text.count("markup=False"), path


@pytest.mark.parametrize("name", [*(name.replace("/", "") for name in ODD), "a\x1b[31mb", "b\udcffc"])
def test_runs_of_any_name_are_listed_by_it(
    synthetic: ModuleType, tmp_path: Path, slotlab: Slotlab, name: str
) -> None:
    study = synthetic.write_study(tmp_path, arms=1, seeds=1, images=4)
    run = next((tmp_path / "runs").iterdir())
    run.rename(tmp_path / "runs" / name)
    code, out, err = slotlab("runs", tmp_path / "runs")
    assert (code, err) == (0, "")
    assert visible(name) in out
    (tmp_path / "runs" / name / "status.json").write_text("{")
    code, out, err = slotlab("runs", tmp_path / "runs")
    assert code == 0
    assert visible(f"{name} is damaged") in err
    assert slotlab("watch", study, "--once")[0] == 0


def test_a_path_that_closes_no_markup_is_printed_whole(
    synthetic: ModuleType, tmp_path: Path, slotlab: Slotlab
) -> None:
    place = tmp_path / "x[" / "y]"
    study = synthetic.write_study(place, arms=2, seeds=2, images=4)
    (next((place / "runs").iterdir()) / "cost.json").write_text("[")
    code, out, err = slotlab("compare", study)
    assert (code, err) == (0, "")
    assert "cost.json: not valid JSON" in out
    assert str(place) in slotlab("runs", place / "runs")[2]
    missing = slotlab("watch", place / "[/nowhere]")
    assert missing[0] == 1
    assert f"error: {place}/[/nowhere] does not exist" in missing[2]


def test_an_arm_that_is_markup_is_watched_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    row: dict[str, Any] = {
        "arm": "enc=[/red]",
        "seed": 0,
        "state": "[/odd]",
        "step": 1,
        "total_steps": 2,
        "loss": None,
    }
    row |= {"metrics": {"[m]": 0.5}, "images_per_second": None, "seconds_left": None}
    watch.print_status({"name": "[/study]", "primary": "[m]", "states": {"[/odd]": 1}, "runs": [row]})
    out = capsys.readouterr().out
    for text in ("enc=[/red]", "[/study]: 1 [/odd]", "[m]"):
        assert text in out


def test_where_a_run_lies_is_printed_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "a[" / "b]" / "figures"
    figures.mkdir(parents=True)
    (figures / "[v1].png").touch()
    found = {"run": str(figures.parent), "step": 3, "figures_left_out": {"[x]": "for [/y]"}}
    print_evaluation.print_run([{**found, "figures": [f"{figures}/[v1].png"]}])
    assert capsys.readouterr().out == (
        f"run: {figures.parent}\nweights of step 3\nfigure [x]: left out, for [/y]\nfigure: {figures}/[v1].png\n"
    )


def test_intervals_stand_in_brackets() -> None:
    assert print_evaluation.span({"mean": 0.5, "low": 0.25, "high": 0.75}) == "0.500 [0.250, 0.750]"


@given(st.text(max_size=30))
def test_tables_for_papers_hold_no_control_characters(text: str) -> None:
    for written in (escape_latex(text), escape_markdown(text)):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", written)


@given(st.text())
def test_any_text_becomes_the_name_of_a_file(text: str) -> None:
    name = file_name(text)
    assert fault(name) is None
    assert name not in (".", "..")
    assert len(name.encode()) <= LONGEST


def test_a_run_that_cannot_be_evaluated_is_told_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slotlab: Slotlab
) -> None:
    measured = []

    class Run:
        def __init__(self, path: Path):
            self.path = path

    def check(path: Path, wanted: Any, **options: Any) -> tuple[Any, Any, Any]:
        if path.name == "bad":
            raise SlotlabError(f"{path}/spec.yaml: damaged")
        return Run(path), None, None

    def evaluate(run: Any, *rest: Any, **options: Any) -> list[dict[str, Any]]:
        if run.path.name == "worse":
            raise OSError(28, "No space left on device", str(run.path))
        measured.append(run.path.name)
        return [{"run": str(run.path)}]

    monkeypatch.chdir(tmp_path)
    for name in ("one", "bad", "worse", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "spec.yaml").touch()
    monkeypatch.setattr(jobs, "check_run", check)
    monkeypatch.setattr(jobs, "evaluate_folder", evaluate)
    monkeypatch.setattr(command, "print_evaluations", lambda found, groups: None)
    code, _, err = slotlab("evaluate", "one", "bad", "worse", "two")
    assert (code, measured) == (1, ["one", "two"])
    assert err == (
        "warning: bad was not evaluated: bad/spec.yaml: damaged\n"
        "warning: worse was not evaluated: [Errno 28] No space left on device: 'worse'\n"
    )
    assert slotlab("evaluate", "bad") == (1, "", "error: bad/spec.yaml: damaged\n")


def test_what_stops_one_of_several_processes_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SlotlabError), Failures().collecting(Path("run")):
        raise SlotlabError("no")
