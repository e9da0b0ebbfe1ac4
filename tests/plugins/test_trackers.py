"""TensorBoard, MLflow and W&B hold what was told, once, after a training was killed and gone on with."""

import json
import struct
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from slotlab.framework.contracts import TakesImages, Tracker, TrackerContext
from slotlab.framework.plugin_loading.discovery import load_registry

REGISTRY = load_registry()
NAMES = ("tensorboard", "mlflow", "wandb")
SETTINGS = {"name": "tiny", "model": {"slots": 3, "channels": [4, 4]}, "phases": [{"steps": 2, "lr": 0.01}]}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No account, no settings and no server but those of the test."""
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def tracker(name: str, folder: Path, resumed_from: int | None = None, **settings: Any) -> Tracker:
    item = REGISTRY.find("tracker", name)
    assert item is not None
    context = TrackerContext(
        folder=folder, name="tiny", run_id="0123-abc", settings=SETTINGS, resumed_from=resumed_from
    )
    built: Tracker = item.component.build(item.component.config(**settings), context)
    return built


def killed_and_gone_on_with(name: str, folder: Path, picture: Path) -> None:
    """Tell steps 1 to 5, be killed, go on from step 3: as the framework tells it."""
    first = tracker(name, folder)
    for step in range(1, 6):
        first.log(step, {"train/loss": 1.0 / step, "train/loss.pixels": 0.5})
    first.log(4 if first.forgets else 5, {"validation/loss": 2.0})
    first.close(failed=True)
    second = tracker(name, folder, resumed_from=3)
    assert isinstance(second, TakesImages)
    for step in range(4 if second.forgets else 6, 9):
        second.log(step, {"train/loss": 1.0 / step, "train/loss.pixels": 0.5})
        if step >= 7:
            second.image("watch/pictures", step, picture)
    second.figure("figures/loss", picture)
    second.close(failed=False)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "loss.png"
    Image.new("RGB", (6, 4), (255, 0, 0)).save(path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_before_the_first_call(name: str, tmp_path: Path) -> None:
    if find_spec(name) is None:
        pytest.skip(f"needs {name}")
    tracker(name, tmp_path).close(failed=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_every_step_once(tmp_path: Path, picture: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed_and_gone_on_with("tensorboard", tmp_path, picture)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    points = [(event.step, event.value) for event in found.Scalars("train/loss")]
    assert points == [(step, pytest.approx(1.0 / step)) for step in range(1, 9)]
    assert found.Scalars("validation/loss") == [], "it was told of step 4, and the resume is from step 3"
    [image] = found.Images("figures/loss")
    assert (image.step, image.width, image.height) == (8, 6, 4)
    assert [image.step for image in found.Images("watch/pictures")] == [7, 8]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_one_run_with_every_step_once(tmp_path: Path, picture: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs slotlab[mlflow]")
    killed_and_gone_on_with("mlflow", tmp_path, picture)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("slotlab")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    points = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "train/loss")]
    assert sorted(points) == [(step, 1.0 / step) for step in range(1, 9)]
    assert run.data.metrics["validation/loss"] == 2.0
    assert run.data.params == {
        "name": "tiny",
        "model.slots": "3",
        "model.channels": "[4, 4]",
        "phases.0.steps": "2",
        "phases.0.lr": "0.01",
    }
    assert [item.path for item in client.list_artifacts(run.info.run_id, "figures")] == ["figures/loss.png"]
    assert list((tmp_path / "mlruns").rglob("loss.png"))
    looks = {path.name.split("+timestamp")[0] for path in (tmp_path / "mlruns").rglob("watch~*.png")}
    assert looks == {"watch~pictures+step+7", "watch~pictures+step+8"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_raises_where_no_server_answers(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs slotlab[mlflow]")
    one = tracker("mlflow", tmp_path, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(mlflow.MlflowException, match="API request"):
        one.log(1, {"train/loss": 1.0})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_has_every_step_once(tmp_path: Path, picture: Path) -> None:
    pytest.importorskip("wandb", reason="needs slotlab[wandb]")
    killed_and_gone_on_with("wandb", tmp_path, picture)
    folders = sorted((tmp_path / "wandb").glob("offline-run-*-0123-abc"))
    every = [record for folder in folders for record in whole(next(folder.glob("*.wandb")))]
    runs = [record.run for record in every if record.WhichOneof("record_type") == "run"]
    assert {(run.run_id, run.display_name, run.project) for run in runs} == {("0123-abc", "tiny", "slotlab")}
    config = {item.key: item.value_json for item in runs[0].config.update}
    assert json.loads(config["model"]) == SETTINGS["model"]
    rows = [row(record) for record in every if record.WhichOneof("record_type") == "history"]
    assert [(one["_step"], one["train/loss"]) for one in rows] == [(s, 1.0 / s) for s in range(1, 9)]
    assert [one["_step"] for one in rows if "validation/loss" in one] == [5]
    assert rows[-1]["figures/loss/_type"] == "image-file"
    assert rows[-1]["watch/pictures/_type"] == "image-file"
    exits = [record.exit.exit_code for record in every if record.WhichOneof("record_type") == "exit"]
    assert exits == [1, 0]


def whole(path: Path) -> list[Any]:
    """Return a run's records. W&B's own process writes the last of them after the run has ended."""
    deadline = time.monotonic() + 30
    while True:
        found = list(records(path.read_bytes()))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        assert time.monotonic() < deadline, "the run's end was never written"
        time.sleep(0.05)


def records(data: bytes) -> Iterator[Any]:
    """Yield the records of W&B's file: 7 bytes, then LevelDB's log format in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    proto: Any = wandb_internal_pb2  # its classes are made while it is imported
    at, content = 7, b""
    while at + 7 <= len(data):
        left = 2**15 - at % 2**15
        if left < 7:  # no room for a header: padding
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        content += data[at + 7 : at + 7 + size]
        at += 7 + size
        if at > len(data):  # still being written
            return
        if kind in (1, 4):  # a whole record, or the last part of one
            yield proto.Record.FromString(content)
            content = b""


def row(record: Any) -> dict[str, Any]:
    items = record.history.item
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
