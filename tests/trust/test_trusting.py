"""Code of another user's run is run only when it was allowed, by whatever command; and only as it was."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.api import consent as asking
from slotlab.framework.api.consent import consent
from slotlab.framework.composition import Composer
from slotlab.framework.jobs.train import remember
from slotlab.framework.plugin_loading.trust import Code, Trusted, admit, allow, refusal, refuse, user_state
from slotlab.framework.spec.load import load_spec
from slotlab.framework.study.folder import PlannedArm, PlannedComparison, PlannedRun, StudyFolder, StudyPlan
from slotlab.registry import SlotlabError, read_code

Slotlab = Callable[..., tuple[int, str, str]]
ABLATION = """
format: 1
name: study
question: which width
base: run/spec.yaml
seeds: [0]
axes:
  - {name: width, path: model.encoder.width, values: [2, 3]}
"""
READERS = (
    ("runs", "."),
    ("runs", ".", "--where", "model.encoder.name=traced"),
    ("compare", "run", "run2"),
    ("report", "run", "run2", "--out", "report.html"),
    ("watch", "study", "--once"),
    ("published",),
    ("list",),
)
RUNNERS = (
    ("validate", "run/spec.yaml"),
    ("show", "run/spec.yaml"),
    ("estimate", "run/spec.yaml", "--images", "4", "--device", "cpu"),
    ("train", "run/spec.yaml", "--run", "other", "--device", "cpu"),
    ("train", "run/spec.yaml", "--run", "run", "--device", "cpu"),
    ("train", "child.yaml", "--run", "other", "--device", "cpu"),
    ("evaluate", "run", "--device", "cpu", "--no-figures"),
    ("compose", "run", "--mode", "slots", "--device", "cpu"),
    ("studio", "run", "--device", "cpu"),
    ("data", "inspect", "run/spec.yaml"),
    ("data", "pack", "run/spec.yaml", "--stores", "stores"),
    ("data", "verify", "run/spec.yaml", "--stores", "stores"),
    ("ablate", "ablation.yaml", "--dry-run"),
)


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_commands_that_read_runs_never_import(
    stranger: Any, slotlab: Slotlab, words: tuple[str, ...]
) -> None:
    shutil.copytree("run", "run2")
    spec = Path("run2/spec.yaml")
    spec.write_text(spec.read_text().replace("seed: 0", "seed: 1"))
    planned = tuple(PlannedRun(seed, f"r{seed}", f"../{run}") for seed, run in enumerate(("run", "run2")))
    compare = PlannedComparison(("ari",), "ari", "one", "whole", "val", "decoder")
    Path("study").mkdir()
    arms = (PlannedArm("one", {}, planned, {}),)
    StudyFolder(Path("study")).write_plan(StudyPlan("study", "", "spec.yaml", (), compare, arms))
    code, _, err = slotlab(*words)
    assert (code, err.count("error")) == (0, 0), err
    assert not stranger.trace.exists()


@pytest.mark.parametrize("words", RUNNERS, ids=" ".join)
def test_commands_that_run_code_ask_first(stranger: Any, slotlab: Slotlab, words: tuple[str, ...]) -> None:
    Path("child.yaml").write_text("extends: run/spec.yaml\nname: child\n")
    Path("ablation.yaml").write_text(ABLATION)
    code, out, err = slotlab(*words)
    assert code == 1
    copy = stranger.copy
    assert (
        f"plugins.0: {stranger.source} came with a run that is not known to be yours, and loading it runs it as a "
        f"program; read {copy} and traced_helper.py first, then give "
        "--trust, which is remembered for this content"
    ) in out + err
    assert "run/spec.yaml:" in out + err
    assert not stranger.trace.exists()
    assert not Path("other").exists()


def test_what_was_allowed_is_remembered_for_this_content(stranger: Any, slotlab: Slotlab) -> None:
    assert slotlab("validate", "run/spec.yaml", "--trust")[0] == 0
    assert stranger.trace.exists()
    notes = list(Path("state/slotlab/trusted").iterdir())
    assert [note.name for note in notes] == [read_code(stranger.copy).digest]
    assert notes[0].stat().st_mode & 0o022 == 0
    for words in RUNNERS[:2]:
        assert slotlab(*words)[0] == 0
    shutil.rmtree("state")
    assert slotlab("validate", "run/spec.yaml")[0] == 1


@pytest.mark.parametrize("file", ["traced.py", "traced_helper.py"])
def test_a_copy_that_is_not_as_recorded_is_refused(stranger: Any, slotlab: Slotlab, file: str) -> None:
    slotlab("validate", "run/spec.yaml", "--trust")
    stranger.trace.unlink()
    before, path = stranger.source, stranger.copy.with_name(file)
    path.write_text(path.read_text() + "\n# changed\n")
    now = stranger.source
    assert now != before
    for trust in ((), ("--trust",)):
        code, _, err = slotlab("evaluate", "run", "--device", "cpu", *trust)
        assert code == 1
        assert err.splitlines() == [
            (
                f"error: run/spec.yaml:{line_of('run/spec.yaml', '- ')}: plugins.0: {stranger.copy} is not what the run "
                f"was trained with: its content is {now[-8:]}, and run/provenance.json says {before[-8:]}; put the "
                "original file back, or name the file to use in its place with --plugin FILE"
            )
        ]
        assert not stranger.trace.exists()


def line_of(file: str, start: str) -> int:
    """The line of the first item after `plugins:`."""
    lines = Path(file).read_text().splitlines()
    first = lines.index("plugins:")
    return next(n for n, line in enumerate(lines[first:], first + 1) if line.strip().startswith(start))


def test_a_record_from_before_helpers_and_whole_hashes(stranger: Any, slotlab: Slotlab) -> None:
    path = stranger.run / "provenance.json"
    facts = json.loads(path.read_text())
    del facts["plugins"]
    old = f"traced.py@{hashlib.sha256(stranger.copy.read_bytes()).hexdigest()[:8]}"
    for item in facts["components"]:
        item["source"] = old if item["name"] == "traced" else item["source"]
    path.write_text(json.dumps(facts))
    assert slotlab("validate", "run/spec.yaml", "--trust")[0] == 0
    stranger.copy.write_text(stranger.copy.read_text() + "#")
    code, out, _ = slotlab("validate", "run/spec.yaml", "--trust")
    assert code == 1
    assert f"run/provenance.json says {old[-8:]}" in out


@pytest.mark.parametrize(
    "text", ["[1]", '{"plugins": 3}', '{"restarts": {"a": 1}, "components": [4, null]}', "{"]
)
def test_a_record_of_another_form_ends_in_no_traceback(stranger: Any, slotlab: Slotlab, text: str) -> None:
    (stranger.run / "provenance.json").write_text(text)
    code, out, err = slotlab("validate", "run/spec.yaml")
    assert (code, "Traceback" in out + err, stranger.trace.exists()) == (1, False, False)


def test_its_maker_is_not_asked(trained: Path, slotlab: Slotlab) -> None:
    assert slotlab("validate", trained / "spec.yaml")[0] == 0
    assert slotlab("evaluate", trained, "--device", "cpu", "--no-figures")[0] == 0


def test_a_spec_of_ones_own_is_like_a_script(trained: Path, stranger: Any, slotlab: Slotlab) -> None:
    for name in ("spec.yaml", "traced.py", "traced_helper.py"):
        shutil.copy(trained.parent / name, name)
    assert slotlab("validate", "spec.yaml")[0] == 0
    assert stranger.trace.exists()
    assert not Path("state").exists(), "remembered when a run is made"


def test_a_run_without_records_is_a_run_to_commands_of_runs(stranger: Any, slotlab: Slotlab) -> None:
    for name in (
        "provenance.json",
        "status.json",
        "metrics.jsonl",
        "checkpoints",
        "evaluation",
        "figures",
        "cost.json",
    ):
        path = stranger.run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for words in (("evaluate", "run"), ("compose", "run"), ("studio", "run")):
        code, _, err = slotlab(*words, "--device", "cpu")
        assert (code, "then give --trust" in err, stranger.trace.exists()) == (1, True, False)
    with pytest.raises(SlotlabError, match="then give --trust"):
        Composer.open(stranger.run, device=torch.device("cpu"))


def test_a_settings_file_of_a_run_may_name_no_code_elsewhere(
    trained: Path, stranger: Any, slotlab: Slotlab
) -> None:
    spec = stranger.run / "spec.yaml"
    spec.write_text(spec.read_text().replace(f"plugins/{stranger.copy.parent.name}", str(trained.parent)))
    code, out, _ = slotlab("validate", "run/spec.yaml")
    assert (code, "then give --trust" in out, stranger.trace.exists()) == (1, True, False)


def test_nor_through_a_parent_in_it_or_beside_it(stranger: Any, slotlab: Slotlab) -> None:
    spec = stranger.run / "spec.yaml"
    for place in ("run/inner", "outside"):
        Path(place).mkdir()
        shutil.copytree("run/plugins", f"{place}/plugins")
        shutil.move(spec, f"{place}/parent.yaml")
        spec.write_text(f"extends: {os.path.relpath(f'{place}/parent.yaml', 'run')}\n")
        for file in ("run/spec.yaml", "run/inner/other.yaml", "child.yaml")[: 3 if "inner" in place else 1]:
            if file != "run/spec.yaml":
                Path(file).write_text(
                    f"extends: {os.path.relpath(f'{place}/parent.yaml', Path(file).parent)}\n"
                )
            code, out, _ = slotlab("validate", file)
            assert (code, "then give --trust" in out, stranger.trace.exists()) == (1, True, False), file
        shutil.copy(f"{place}/parent.yaml", spec)


# --- asking ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "allowed"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("no\n", False)]
)
def test_at_a_terminal_one_is_asked_once(
    stranger: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    allowed: bool,
) -> None:
    read, write = os.pipe()
    os.write(write, answer.encode())
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code = Code.of(read_code(stranger.copy))
        assert asking.ask([code]) is allowed
    shown = capsys.readouterr().err
    assert f"{stranger.copy} (with traced_helper.py), SHA-256 {code.digest}" in shown


def test_who_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def __init__(self, *, real: bool):
            self.isatty = lambda: real

    asked = []
    monkeypatch.setattr(asking, "ask", lambda found: bool(asked.append(found)))
    one = [Code(Path("a.py"), "0" * 64)]
    for stdin, stderr, ends in ((True, True, 1), (True, False, 0), (False, True, 0)):
        asked.clear()
        monkeypatch.setattr(sys, "stdin", Terminal(real=stdin))
        monkeypatch.setattr(sys, "stderr", Terminal(real=stderr))
        decide = consent(given=False)
        assert [decide(one), decide(one)] == [False, False]
        assert len(asked) == ends, "once for each content"
    assert consent(given=True) is allow


def test_names_cannot_hide_what_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "run\x1b[2K" / "mine.py"
    path.parent.mkdir()
    path.write_text("SLOTLAB_FILES = ['a\\x1b[1Ab']\n")
    (path.parent / "a\x1b[1Ab").write_text("")
    text = refusal(Code.of(read_code(path)))
    assert "\x1b" not in text
    assert "run\\x1b[2K/mine.py and a\\x1b[1Ab first" in text


# --- remembering -------------------------------------------------------------------------


def test_where_it_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert user_state() == tmp_path / ".local" / "state" / "slotlab"
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert user_state() == Path("/x/slotlab")


def no_home() -> Path:
    raise RuntimeError("no home")


def test_without_a_place_to_remember_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, asked = Code(tmp_path / "a.py", "0" * 64), []

    def yes(found: Any) -> bool:
        asked.append(found)
        return True

    (tmp_path / "file").write_text("")
    for state in (tmp_path / "file", Path("/proc/none")):
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
        assert admit([code], yes) == admit([code], yes) == []
        assert Trusted.user().remember([code]) is False
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert admit([code], yes) == []
    assert len(asked) == 5
    assert Trusted.user() == Trusted(None)
    assert admit([code], refuse) == [code]


def test_a_content_that_is_known_keeps_no_other_from_being_remembered(tmp_path: Path) -> None:
    trusted = Trusted(tmp_path / "trusted")
    first, *others = [Code(tmp_path / f"{digit}.py", digit * 64) for digit in "012"]
    assert trusted.remember([first])
    assert not any(map(trusted.knows, others))
    assert trusted.remember([first, *others])
    assert all(map(trusted.knows, others))


# --- programs that are no Python -----------------------------------------------------------


def test_a_program_that_a_runs_spec_names_is_asked_about(
    trained: Path, stranger: Any, slotlab: Slotlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    slotlab("validate", "run/spec.yaml", "--trust")
    program = Path("net.pt").absolute()
    program.write_text("a program, which is not run here")
    spec = stranger.run / "spec.yaml"
    block = f"{{library: val, set_metrics: [{{name: frechet_torchscript, weights: {program}, size: 8}}]}}"
    spec.write_text(spec.read_text().replace("composition: null", f"composition: {block}"))
    code, out, _ = slotlab("validate", "run/spec.yaml")
    assert code == 1
    assert "evaluation.composition.set_metrics.0.weights: net.pt@" in out
    assert f"read {program} first, then give --trust" in out
    assert slotlab("validate", "run/spec.yaml", "--trust")[0] == 0
    assert slotlab("validate", "run/spec.yaml")[0] == 0
    program.write_bytes(program.read_bytes() + b"x")
    assert slotlab("validate", "run/spec.yaml")[0] == 1
    chosen = (
        f"evaluation.composition.set_metrics=[{{name: frechet_torchscript, weights: {program}, size: 8}}]"
    )
    assert slotlab("validate", "run/spec.yaml", "--set", chosen)[0] == 0, "named by the user"


def test_an_inception_in_a_folder_is_a_program_too(stranger: Any, slotlab: Slotlab) -> None:
    slotlab("validate", "run/spec.yaml", "--trust")
    Path("inception-2015-12-05.pt").write_text("x")
    spec = stranger.run / "spec.yaml"
    block = f"{{library: val, set_metrics: [{{name: fid, weights: {Path.cwd()}}}]}}"
    spec.write_text(spec.read_text().replace("composition: null", f"composition: {block}"))
    code, out, _ = slotlab("validate", "run/spec.yaml")
    assert (code, "set_metrics.0.weights: inception-2015-12-05.pt@" in out) == (1, True)


def test_programs_of_ones_own_runs_are_remembered(
    trained: Path, command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "net.pt"
    program.write_text("x")
    chosen = f"evaluation.composition={{set_metrics: [{{name: frechet_torchscript, weights: {program}}}]}}"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    remember(load_spec(trained.parent / "spec.yaml", sets=[chosen]))
    assert len(list((tmp_path / "state/slotlab/trusted").iterdir())) == 2
