"""Under `clevrtex-official` the pixels are those of the authors' loader, byte for byte."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.contracts import DatasetContext
from slotlab.framework.data.preparation import Preparation
from slotlab.plugins.datasets.clevrtex import CLEVRTexConfig, CLEVRTexDataset
from slotlab.plugins.datasets.image_folder import ImageFolderConfig, open_folder
from slotlab.plugins.protocols.clevrtex_official import slotlab_protocols

SHARED = Path(os.environ.get("SLOTLAB_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
SAMPLE = SHARED / "clevrtex_sample"
REAL = SHARED / "real"
needs_sample = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f"no sample of CLEVRTex at {SAMPLE}; set SLOTLAB_SHARED"
)
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no CLEVRTex pictures at {REAL}; set SLOTLAB_SHARED"
)
CONTEXT = DatasetContext(split="all", image_size=(128, 128))


def official(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The official loader's steps, written down again (clevrtex_eval.py, `_reindex` and `__getitem__`)."""
    image = Image.open(path)
    image = Image.merge("RGB", image.split()[:3])
    flat = path.parent / (path.name[: -len(".png")] + "_flat.png")
    mask = Image.open(flat) if flat.exists() else None
    crop = int(0.8 * min(image.size))
    left, top = (image.width - crop) // 2, (image.height - crop) // 2
    box = (left, top, left + crop, top + crop)
    image = image.crop(box).resize((128, 128), Image.BILINEAR)
    mask = mask.crop(box).resize((128, 128), Image.NEAREST) if mask else None
    return np.array(image), None if mask is None else np.array(mask)


def preparation() -> Preparation:
    [component] = slotlab_protocols()
    return Preparation.of(component.config())


@needs_sample
def test_every_pixel_of_the_sample_is_the_official_loaders() -> None:
    paths = sorted((SAMPLE / "clevrtex_full" / "0").glob("CLEVRTEX_full_??????.png"))
    dataset, prepare = CLEVRTexDataset(CLEVRTexConfig(root=SAMPLE), CONTEXT), preparation()
    assert len(paths) == len(dataset) == 240
    for index, path in enumerate(paths):
        raw = dataset[index]
        sample = prepare(raw).sample
        image, mask = official(path)
        assert (raw.id, raw.path) == (path.stem, str(path))
        assert sample.mask_HW is not None
        assert (sample.image_CHW.dtype, sample.mask_HW.dtype) == (torch.uint8, torch.uint8)
        np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), image)
        np.testing.assert_array_equal(sample.mask_HW.numpy(), mask)
        assert raw.attributes["num_objects"] == len(np.unique(dataset.mask(index))) - 1


@needs_real
def test_real_pictures_are_read_as_the_official_loader_does() -> None:
    folder = open_folder(ImageFolderConfig.model_validate({"images": str(REAL)}), CONTEXT)
    assert [folder[i].id for i in range(3)] == ["1", "2", "3"]
    for sample in (folder[i] for i in range(3)):
        assert sample.path is not None
        image, _ = official(Path(sample.path))
        np.testing.assert_array_equal(preparation()(sample).sample.image_CHW.permute(1, 2, 0).numpy(), image)
