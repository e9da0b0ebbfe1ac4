"""Images that are no squares, from a spec to the evaluation of a trained run and its pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Slotlab = Callable[..., tuple[int, str, str]]
SETS = (
    "data.dataset={name: scenes, max_objects: 3, num_train: 4, num_val: 2, textures: [plain]}",
    "data.protocol={name: whole, image_size: [16, 24]}",
    "data.augmentation={flip: true, crop: 0.8}",
    "model.decoder={name: spatial_broadcast, broadcast_size: [8, 12], channels: [4], strides: [2]}",
    "evaluation={metrics: [ari, mse, ssim, boundary_f], baselines: [position_grid, color_kmeans]}",
)


@pytest.mark.usefixtures("blank_figures")
def test_a_run_on_rectangles(slotlab: Slotlab, base: str) -> None:
    sets = [f"--set={one}" for one in SETS]
    code, out, err = slotlab("train", "spec.yaml", "--run", "run", "--device", "cpu", *sets)
    assert code == 0, err
    assert "2 images of 24x16 pixels, masks from the decoder" in out
    [path] = Path("run/evaluation").glob("*/summary.json")
    found = json.loads(path.read_text())
    assert (found["image_size"], found["mask_size"]) == ([16, 24], None)
    assert found["protocol"] == "whole (image_size [16, 24])"
    assert set(found["methods"]["model"]) == {"ari", "mse", "ssim", "boundary_f"}
    code, _, err = slotlab("compose", "run", "--mode", "mix", "--count", "1", "--device", "cpu")
    assert code == 0, err
    code, _, err = slotlab(
        "evaluate", "run", "--protocol", "{name: whole, image_size: 16}", "--device", "cpu"
    )
    assert code == 1
    assert "has images of 16 pixels, and the model was trained on 24x16 and cannot take them" in err


@pytest.mark.parametrize(
    ("size", "hint"),
    [
        ("[32, 48]", "but the target is 32x48; write broadcast_size: [16, 24]"),
        ("[17, 24]", "its rows and columns must be multiples of 2, or strides and channels other ones"),
    ],
)
def test_a_decoder_says_which_grid_makes_a_rectangle(
    slotlab: Slotlab, base: str, size: str, hint: str
) -> None:
    code, out, err = slotlab("validate", "spec.yaml", f"--set=data.protocol.image_size={size}")
    assert code == 1
    assert hint in out + err
