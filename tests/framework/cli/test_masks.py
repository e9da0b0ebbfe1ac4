"""Masks that need settings, from the command line: what is said, and that the settings reach every number."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIDE = 24
SPEC = """
format: 1
name: voids
data:
  dataset: {{name: image_folder, images: {root}/images, masks: {root}/masks}}
  protocol: {{name: whole, image_size: 16}}
  store: "off"
model:
  slots: 3
  slot_dim: 8
  encoder: {{name: cnn, channels: [4], kernel_size: 3}}
  initializer: gaussian
  grouping: {{name: slot_attention, iterations: 1}}
  decoder: {{name: spatial_broadcast, broadcast_size: 8, channels: [4], strides: [2]}}
training: {{batch_size: 2, phases: [{{steps: 1, lr: 1e-3}}]}}
evaluation: {{split: all, metrics: [ari, fg_ari, mbo], baselines: [position_grid]}}
"""


def write(root: Path) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number in range(10):
        rng = np.random.default_rng(number)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[4:12, 4:20], mask[14:20, 2:9] = 1, 2
        mask[12:14] = 255
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(
            root / f"images/{number}.png"
        )
        Image.fromarray(mask).save(root / f"masks/{number}.png")
    spec = root / "spec.yaml"
    spec.write_text(SPEC.format(root=root))
    return spec


def means(result: dict[str, Any], method: str = "model") -> dict[str, float]:
    return {name: found["mean"] for name, found in result["methods"][method].items()}


WARNING = "have the label 255, which is void in many data sets"


def test_void_is_told_and_once_it_is_set_left_out_of_every_number(slotlab: Any, tmp_path: Path) -> None:
    spec = write(tmp_path)
    run = tmp_path / "run"
    code, _, err = slotlab("train", spec, "--run", run, "--device", "cpu")
    assert (code, WARNING in " ".join(err.split())) == (0, True)

    results = []
    for sets in ([], ["--set", "data.dataset.void=255"]):
        words = (
            "evaluate",
            run,
            "--device",
            "cpu",
            "--no-figures",
            "--save-masks",
            "--json",
            tmp_path / "r.json",
        )
        code, _, err = slotlab(*words, *sets)
        assert code == 0
        assert (WARNING in " ".join(err.split())) == (not sets)
        results.append(json.loads((tmp_path / "r.json").read_text())["evaluations"][0])
    scored, void = results
    assert means(scored) != means(void)
    assert means(scored, "position_grid") != means(void, "position_grid")
    assert void["breakdowns"]["objects"][0]["group"] == "2"
    assert scored["breakdowns"]["objects"][0]["group"] == "3"

    folders = [
        path for path in (run / "evaluation").glob("*/masks") if 255 in void_of(path / "true" / "0.png")
    ]
    assert folders
    masks = folders[-1]
    words = ("score", "--true", masks / "true", "--pred", masks / "predicted", "--metrics", "ari,fg_ari,mbo")
    code, _, _ = slotlab(*words, "--void", "255", "--json", tmp_path / "s.json")
    found = json.loads((tmp_path / "s.json").read_text())
    assert (code, found["void"], found["background"]) == (0, 255, 0)
    assert means(found) == means(void)
    assert found["breakdowns"]["objects"] == void["breakdowns"]["objects"]


def void_of(path: Path) -> set[int]:
    with Image.open(path) as image:
        return set(np.unique(np.array(image)).tolist())


def test_inspection_tells_and_takes_a_block_for_a_protocol(slotlab: Any, tmp_path: Path) -> None:
    write(tmp_path)
    block = "{name: whole, image_size: 8}"
    words = ("data", "inspect", tmp_path, "--workers", "0", "--protocol", block)
    code, _, _ = slotlab(*words, "--json", tmp_path / "i.json")
    result = json.loads((tmp_path / "i.json").read_text())
    assert (code, result["image_size"], result["protocol"]) == (0, [8, 8], "whole (image_size 8)")
    assert any(WARNING in text for text in result["cautions"])
    code, _, _ = slotlab(*words, "--set", "data.dataset.void=255", "--json", tmp_path / "i.json")
    result = json.loads((tmp_path / "i.json").read_text())
    assert (code, result["cautions"]) == (0, [])
    assert result["splits"]["all"]["objects"]["mask_colors"] == {"2": 10}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--void", "red"], "--void red: write a label, such as 255, a color, such as '#ffffff', or none"),
        (
            ["--void", "255", "--background", "white"],
            "--background white and --void 255 are the same label; a pixel is one of them",
        ),
        (["--exif", "yes"], "--exif yes: write apply or ignore"),
    ],
)
def test_options_of_score_that_cannot_be(slotlab: Any, tmp_path: Path, words: list[str], text: str) -> None:
    write(tmp_path)
    code, _, err = slotlab("score", "--true", tmp_path / "masks", "--pred", tmp_path / "masks", *words)
    assert code == 1
    assert text in " ".join(err.split())


def test_the_help_of_score_names_all_that_it_reads(slotlab: Any) -> None:
    code, out, _ = slotlab("score", "--help")
    text = " ".join(out.split())
    assert code == 0
    assert "PNGs or .npy arrays of labels, or PNGs with a color per object" in text
    assert all(option in text for option in ("--void", "--background", "--exif"))
