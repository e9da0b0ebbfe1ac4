"""Saved masks of clips: a folder for each, and frames by their own numbers."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from slotlab.framework.contracts import Outcome
from slotlab.framework.evaluation.result_folders import Place
from slotlab.framework.jobs.saved_masks import write_masks
from slotlab.framework.runs.folder import RunFolder


def test_frames_keep_their_numbers_where_the_first_ones_are_not_measured(tmp_path: Path) -> None:
    labels = torch.arange(8)[:, None, None].expand(8, 2, 3)  # two clips of four frames, each its own number
    whole = Outcome(images_BCHW=torch.zeros(8, 3, 2, 3), true_BHW=labels, predicted_BHW=labels, frames=4)
    place = Place("data-test-whole")
    write_masks(RunFolder(tmp_path), place, 2, "decoder", ("a", "b"), whole.after(2))
    for kind in ("true", "predicted"):
        folder = tmp_path / "evaluation" / place.name("decoder") / "masks" / kind
        found = {
            str(path.relative_to(folder)): int(np.asarray(Image.open(path)).max())
            for path in folder.rglob("*.png")
        }
        assert found == {"a/002.png": 2, "a/003.png": 3, "b/002.png": 6, "b/003.png": 7}
