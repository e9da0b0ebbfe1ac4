"""Each run is evaluated with its own plugins, whatever else is there; others replace them on purpose only."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.composition import Composer
from slotlab.framework.plugin_loading.plugin_copies import copies, recorded
from slotlab.framework.spec.load import load_spec
from slotlab.registry import read_code

Slotlab = Callable[..., tuple[int, str, str]]
Sources = dict[str, str]
DATASET = """
from typing import ClassVar

import torch

import colors
from slotlab.framework.contracts import Sample
from slotlab.registry import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    splits: ClassVar = ("train", "val")


class Plain:
    def __init__(self, config, context):
        self.split = context.split

    def __len__(self):
        return 4

    def fingerprint(self):
        return "gray"

    def __getitem__(self, index):
        image_CHW = torch.full((3, 8, 8), colors.LEVEL, dtype=torch.uint8)
        return Sample(image_CHW=image_CHW, mask_HW=torch.ones(8, 8, dtype=torch.int64), id=f"{self.split}-{index}")


@hookimpl
def slotlab_datasets():
    yield Component(name="plain", config=Config, build=Plain, summary="gray")
"""


def write(folder: Path, sources: Sources, **changed: str) -> None:
    """Write the files that a run is trained from; `spec`, `traced` and `traced_helper` may be others."""
    for name, text in sources.items():
        (folder / name).write_text(changed.get(name.partition(".")[0], text))


@pytest.fixture
def two(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of one user with copies of one plugin."""
    for name in ("one", "two"):
        shutil.copytree(trained, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scale(run: Path, factor: float) -> None:
    """Give a run another version of its helper, as if it had been trained with it."""
    [copy] = (run / "plugins").glob("*/traced.py")
    before = read_code(copy)
    helper = copy.with_name("traced_helper.py")
    helper.write_text(helper.read_text().replace("FACTOR = 1.0", f"FACTOR = {factor}"))
    record = run / "provenance.json"
    text = record.read_text().replace(before.digest, read_code(copy).digest)
    record.write_text(text.replace(before.source, read_code(copy).source))


def first_means(run: str) -> dict[str, Any]:
    [path] = Path(run, "evaluation").glob("*-decoder/summary.json")
    found = json.loads(path.read_text())["methods"]["model"]
    return {name: one["mean"] for name, one in found.items()}


def test_two_versions_of_a_plugin_in_one_process(two: Path, slotlab: Slotlab) -> None:
    before = first_means("two")
    scale(two / "two", -3.0)
    code, out, err = slotlab(
        "evaluate", "one", "two", "--device", "cpu", "--no-figures", "--trust", "--json", "-"
    )
    assert code == 0, err
    found = json.loads(out)["evaluations"]
    assert [one["replaced_plugins"] for one in found] == [{}, {}]
    assert first_means("one") == before
    assert first_means("two") != before
    composers = [Composer.open(Path(name), device=torch.device("cpu")) for name in ("one", "two")]
    factors = [sys.modules[type(one.model.encoder).__module__].traced_helper.FACTOR for one in composers]
    assert factors == [1.0, -3.0]


def test_a_runs_own_comes_before_one_that_is_installed(
    two: Path, sources: Sources, slotlab: Slotlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = two / "site"
    info = site / "traced-9.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: traced\nVersion: 9.0\n")
    (info / "entry_points.txt").write_text("[slotlab.plugins]\ninstalled_traced = installed_traced\n")
    installed = (
        sources["traced.py"].replace("import traced_helper", "").replace("traced_helper.FACTOR", "5.0")
    )
    (site / "installed_traced.py").write_text(installed)
    monkeypatch.syspath_prepend(str(site))
    before = first_means("one")
    code, _, err = slotlab("evaluate", "one", "--device", "cpu", "--no-figures")
    assert (code, "warning" in err) == (0, False), "nothing is to be said: it is the run's own"
    assert first_means("one") == before
    write(two, sources)
    code, out, _ = slotlab("validate", "spec.yaml")
    assert code == 1
    assert "two plugins provide the encoder 'traced': traced 9.0 and traced.py@" in out
    assert (
        "; give one of them another name, or leave traced.py out, its line under 'plugins:' of the spec or its "
        "--plugin, and use that of traced 9.0, which is installed"
    ) in out


def test_a_runs_plugin_beside_the_file_it_is_a_copy_of(trained: Path, slotlab: Slotlab) -> None:
    words = ("--device", "cpu", "--no-figures", "--plugin", trained.parent / "traced.py", "--json", "-")
    code, out, err = slotlab("evaluate", trained, *words)
    assert (code, "warning" in err) == (0, False)
    assert [one["replaced_plugins"] for one in json.loads(out)["evaluations"]] == [{}]


def test_another_plugin_takes_its_place_on_purpose(two: Path, sources: Sources, slotlab: Slotlab) -> None:
    before = first_means("one")
    own = json.loads(Path("one/provenance.json").read_text())
    write(two, sources, traced_helper=sources["traced_helper.py"].replace("1.0", "-3.0"))
    old = read_code(next(Path("one/plugins").glob("*/traced.py"))).source
    new = read_code(two / "traced.py").source
    words = ("--device", "cpu", "--no-figures", "--plugin", "traced.py", "--json", "-")
    code, out, err = slotlab("evaluate", "one", *words)
    assert code == 0, err
    note = f"plugins: {new}, given with --plugin, takes the place of {old}, which the run was trained with"
    assert [line for line in err.splitlines() if line.startswith("warning: one/spec.yaml:") and note in line]
    [summary] = json.loads(out)["evaluations"]
    assert summary["replaced_plugins"] == {old: new}
    assert summary["run_id"] == own["run_id"]
    assert json.loads(Path("one/provenance.json").read_text())["evaluated_with"] == [{old: new}]
    folders = sorted(path.name for path in Path("one/evaluation").iterdir())
    assert folders == ["scenes-val-whole-decoder", summary["evaluation"]]
    assert summary["evaluation"].startswith("scenes-val-whole-decoder-")
    assert first_means("two") == before
    code, _, err = slotlab("compare", "one", "two")
    assert code == 1, "it is not mixed with the others"


def test_a_file_of_its_name_stands_in_for_a_copy_that_is_lost(
    two: Path, trained: Path, slotlab: Slotlab
) -> None:
    shutil.rmtree("one/plugins")
    code, _, err = slotlab("evaluate", "one", "--device", "cpu", "--no-figures")
    assert (code, "traced.py: does not exist" in err) == (1, True)
    before = first_means("one")
    words = ("--device", "cpu", "--no-figures", "--plugin", trained.parent / "traced.py")
    assert slotlab("evaluate", "one", *words)[0] == 0
    assert first_means("one") == before


def test_a_plugin_of_the_command_line_is_copied_into_the_run(
    tmp_path: Path, sources: Sources, slotlab: Slotlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, sources, spec=sources["spec.yaml"].replace("plugins: [traced.py]\n", ""))
    words = ("--device", "cpu", "--plugin", "traced.py", "--no-evaluate")
    assert slotlab("train", "spec.yaml", "--run", "run", *words)[0] == 0
    Path("traced.py").unlink()
    assert slotlab("evaluate", "run", "--device", "cpu", "--no-figures")[0] == 0


def test_copies_see_what_their_originals_saw(tmp_path: Path) -> None:
    files = {
        "a/same.py": "import helper",
        "a/helper.py": "x = 1",
        "b/same.py": "import helper",
        "b/helper.py": "x = 2",
        "c/lone.py": "import json",
        "d/user.py": "import lone",  # not the one in c
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    codes = [read_code(tmp_path / name) for name in ("a/same.py", "b/same.py", "c/lone.py", "d/user.py")]
    found = copies(codes)
    assert found.plugins[2] == "plugins/lone.py"
    assert len(found.files) == 6
    for name, content in found.files.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    again = [read_code(tmp_path / "run" / name) for name in found.plugins]
    assert [code.digest for code in again] == [code.digest for code in codes]


def test_the_identity_of_a_lone_plugin_is_that_of_its_file(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lone = sources["traced.py"].replace("import traced_helper\n", "").replace("traced_helper.FACTOR", "1.0")
    write(tmp_path, sources, traced=lone)
    loaded = load_spec("spec.yaml")
    digest = hashlib.sha256(lone.encode()).hexdigest()
    assert loaded.spec.model.config.encoder.registered.identity == f"encoder:traced=1@{digest[:8]}"


# --- other processes -----------------------------------------------------------------------


def test_workers_find_a_dataset_and_its_helper(
    tmp_path: Path, sources: Sources, slotlab: Slotlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain.py").write_text(DATASET)
    Path("colors.py").write_text("LEVEL = 77\n")
    spec = (
        sources["spec.yaml"]
        .replace("[traced.py]", "[plain.py]")
        .replace("encoder: traced", "encoder: {name: cnn, channels: [4]}")
    )
    start, end = spec.index("  dataset:"), spec.index("  protocol:")
    Path("spec.yaml").write_text(spec[:start] + "  dataset: plain\n" + spec[end:])
    code, _, err = slotlab("data", "pack", "spec.yaml", "--workers", "2", "--stores", "stores")
    assert code == 0, err
    code, _, err = slotlab(
        *("train", "spec.yaml", "--run", "run", "--device", "cpu", "--set", "data.workers=1"),
        *("--set", "data.store=off"),
    )
    assert code == 0, err


@pytest.mark.slow
def test_several_processes_train_with_a_helper(tmp_path: Path, sources: Sources) -> None:
    write(tmp_path, sources)
    program = [sys.executable, "-m", "slotlab.framework.cli", "train", "spec.yaml", "--run", "run"]
    done = subprocess.run(
        [*program, "--device", "cpu", "--devices", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_plugin_that_may_open_files_is_told_how_they_are_copied(
    tmp_path: Path, sources: Sources, slotlab: Slotlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opening = sources["traced_helper.py"] + "\nWORDS = (Path(__file__).parent / 'words.txt').read_text()\n"
    write(tmp_path, sources, traced_helper=opening)
    Path("words.txt").write_text("a")
    text = (
        "traced.py uses __file__; of the files that it opens beside it, a run copies only those that it lists: "
        "SLOTLAB_FILES = ['words.txt']"
    )
    assert text in slotlab("validate", "spec.yaml")[1]
    Path("traced.py").write_text("SLOTLAB_FILES = ['words.txt']\n" + sources["traced.py"])
    assert "__file__" not in slotlab("validate", "spec.yaml")[1]
    assert list(read_code(Path("traced.py")).files) == ["traced.py", "traced_helper.py", "words.txt"]


@pytest.mark.parametrize("restarts", [[], [{"step": 3}], [{"step": 3}, {"step": 5}]])
def test_a_copy_is_compared_with_the_last_start_that_tells_of_plugins(
    tmp_path: Path, restarts: list[dict[str, Any]]
) -> None:
    def start(digest: str) -> dict[str, Any]:
        return {"components": [{"name": "a"}], "plugins": [{"file": "a.py", "sha256": digest}]}

    def known(*starts: dict[str, Any]) -> list[str]:
        facts = {**start("first"), "restarts": [*starts, *restarts]}
        (tmp_path / "provenance.json").write_text(json.dumps(facts))
        return list(recorded(tmp_path, "a.py"))

    assert known() == ["first"]
    assert known(start("second"), start("third")) == ["third"]
