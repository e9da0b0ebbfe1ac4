"""The study of trainings on generated scenes runs from end to end, and goes on where it was."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "on_scenes.py"
TINY = (
    "--device=cpu",
    "--base=slotlab:demo",
    "--set=data.dataset={name: scenes, max_objects: 3, num_train: 8, num_val: 3, textures: [plain]}",
    "--set=data.protocol.image_size=16",
    "--set=model.decoder.channels=[8]",
    "--set=training.batch_size=4",
    "--set=evaluation.baselines=[one_segment]",
)


@pytest.fixture
def on_scenes() -> ModuleType:
    """The script."""
    spec = importlib.util.spec_from_file_location("on_scenes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_two_precisions_are_compared(
    on_scenes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = "--set=model.encoder={name: cnn, channels: [8], strides: [1], kernel_size: 3}"
    words = ["precision", *TINY, small, "--steps=3", "--seeds", "0", "1"]
    on_scenes.main(words)
    results = Path("docs/results")
    data = json.loads((results / "precision.json").read_text())
    assert [(row["arm"], row["seed"]) for row in data["rows"]] == [
        ("float32", 0),
        ("float32", 1),
        ("bfloat16", 0),
        ("bfloat16", 1),
    ]
    assert data["verdict"] == on_scenes.verdict(data["rows"])
    page = (results / "precision.md").read_text()
    assert data["verdict"] in page
    named = {line.split("](")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")}
    assert named == {file.name for file in results.glob("*.png")}
    assert len(named) == 8  # the loss and the panels of each run
    on_scenes.main(words)
    again = json.loads((results / "precision.json").read_text())
    assert [row["fg_ari"] for row in again["rows"]] == [row["fg_ari"] for row in data["rows"]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            ((0.5, 0.7), (0.55, 0.75)),
            "FG-ARI of a and b agrees within the seeds' spread: it differs by 0.0500, the seeds by a standard deviation of 0.1414",
        ),
        (
            ((0.5, 0.52), (0.6, 0.62)),
            "FG-ARI of a and b does not agree within the seeds' spread: it differs by 0.1000, the seeds by a standard deviation of 0.0141",
        ),
        (
            ((0.5,), (0.6,)),
            "FG-ARI of a and b differs by 0.1000; one seed has no spread to compare it with",
        ),
    ],
)
def test_the_verdict(on_scenes: ModuleType, values: tuple[tuple[float, ...], ...], expected: str) -> None:
    rows = [
        {"arm": arm, "seed": seed, "fg_ari": value, "ari": 0.0, "loss": 0.0}
        for arm, some in zip("ab", values, strict=True)
        for seed, value in enumerate(some)
    ]
    assert on_scenes.verdict(rows) == expected


def test_all_parts_are_crossed_and_the_reference_is_valid_on_scenes(on_scenes: ModuleType) -> None:
    arms = list(on_scenes.arms_of("model", (0,)))
    assert [arm.label for arm in arms] == [
        "cnn, gaussian",
        "cnn, learnable",
        "resnet18_style, gaussian",
        "resnet18_style, learnable",
    ]
    spec = arms[0].load(on_scenes.REFERENCE, [], 200, "bfloat16").spec
    assert (spec.data.dataset.config.endless, spec.data.filter, spec.data.size) == (True, None, (128, 128))  # type: ignore[attr-defined]
    assert spec.training.phases[0].schedule.config.warmup == 10  # type: ignore[attr-defined]
