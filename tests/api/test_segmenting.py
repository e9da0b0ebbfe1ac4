"""`Run.segment` is what evaluation computes, in whatever form the images come."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import slotlab
from slotlab.framework.contracts import MaskSource, Outcome
from slotlab.framework.evaluation.conditions import own_condition
from slotlab.framework.evaluation.evaluate import evaluate_masks
from slotlab.results import Images, Run, Segmentation

FOLDER = """
extends: slotlab:demo
name: own
data:
  dataset: {name: image_folder, images: pictures}
  protocol: {name: whole, image_size: 16, crop: square, splits: {train: [0, 3], val: [0, 5]}}
model:
  slots: 3
  encoder: {name: cnn, channels: [4], strides: [1]}
  initializer: gaussian
  decoder: {name: spatial_broadcast, broadcast_size: 8, channels: [4], strides: [2]}
training: {batch_size: 3, phases: [{steps: 1, lr: 1e-3}]}
evaluation: {metrics: [mse], baselines: [], batch_size: 2}
"""


def masks_of_evaluation(run: Run, source: MaskSource) -> Tensor:
    """Return the masks (B, K, H, W) that evaluation scores."""
    found: list[Tensor] = []

    def keep(source: MaskSource, ids: Sequence[str], outcome: Outcome) -> None:
        assert outcome.masks_BKHW is not None
        found.append(outcome.masks_BKHW)

    ready = run.subject.ready(own_condition(run.prepared.loaded))
    evaluate_masks(ready.condition.spec, ready.model, ready.loader, {}, (source,), baselines=(), keep=keep)
    return torch.cat(found)


@pytest.fixture
def images(run: Run) -> Images:
    return run.images("val", range(6))


@pytest.mark.parametrize("source", ["decoder", "attention"])
def test_masks_are_those_of_evaluation_bit_for_bit(run: Run, images: Images, source: MaskSource) -> None:
    found = run.segment(images, masks=source)
    assert torch.equal(found.masks_BKHW, masks_of_evaluation(run, source))
    assert torch.equal(found.labels_BHW, found.masks_BKHW.argmax(dim=1))
    assert torch.allclose(found.masks_BKHW.sum(dim=1), torch.ones(()))


def test_labels_are_those_that_evaluation_writes(run: Run, images: Images) -> None:
    evaluation = run.evaluate(figures=False, save_masks=True)
    (name,) = evaluation.means()
    folder = run.folder.evaluation(name) / "masks" / "predicted"
    found = run.segment(images)
    for i, one in enumerate(images.ids):
        written_HW = np.array(Image.open(folder / f"{one}.png"))
        assert np.array_equal(written_HW, found.labels_BHW[i].numpy())


def test_files_of_any_size_are_prepared_as_in_training(write: Callable[[str, str], Path]) -> None:
    write("spec.yaml", FOLDER)
    paths = []
    draw = np.random.default_rng(0)
    for i, (rows, columns) in enumerate([(40, 50), (40, 50), (30, 20), (16, 16), (61, 33)]):
        paths.append(write(f"pictures/{i}.png", ""))
        Image.fromarray(draw.integers(0, 256, (rows, columns, 3), dtype=np.uint8)).save(paths[-1])
    run = slotlab.train("spec.yaml", device="cpu", evaluate=False)
    expected = masks_of_evaluation(run, "decoder")
    for given in (paths, [np.array(Image.open(path)) for path in paths]):
        found = run.segment(given)
        assert torch.equal(found.masks_BKHW, expected)
    assert torch.equal(found.images_BCHW, run.images("val", range(5)).images_BCHW)


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda images: images,
    "float tensor": lambda images: images.float() / 255,
    "double tensor": lambda images: images.double() / 255,
    "half tensor": lambda images: (images.float() / 255).half(),
    "array": lambda images: images.movedim(1, -1).numpy(),
    "float array": lambda images: images.movedim(1, -1).numpy() / np.float32(255),
    "array that is not contiguous": lambda images: np.asfortranarray(images.movedim(1, -1).numpy()),
    "RGBA": lambda images: torch.cat([images, images[:, :1]], dim=1),
    "list of tensors": lambda images: list(images),
    "list of arrays": lambda images: [one.movedim(0, -1).numpy() for one in images],
    "PIL": lambda images: [Image.fromarray(one.movedim(0, -1).numpy()) for one in images],
    "RGBA in PIL": lambda images: [
        Image.fromarray(one.movedim(0, -1).numpy()).convert("RGBA") for one in images
    ],
    "mixed": lambda images: [images[0], images[1].movedim(0, -1).numpy(), *(images[2:].float() / 255)],
}


def assert_same(one: Segmentation, other: Segmentation) -> None:
    for name in ("images_BCHW", "slots_BKD", "masks_BKHW", "labels_BHW", "reconstruction_BCHW"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_images_changes_nothing(run: Run, images: Images, form: str) -> None:
    assert_same(run.segment(FORMS[form](images.images_BCHW)), run.segment(images))


def test_gray_images_are_images_of_three_equal_channels(run: Run) -> None:
    gray_HW = torch.arange(32 * 32).reshape(32, 32).remainder(256).to(torch.uint8)
    expected = run.segment(gray_HW.expand(3, -1, -1))
    forms = (
        gray_HW,
        gray_HW[None],
        gray_HW.numpy(),
        gray_HW.numpy()[..., None],
        Image.fromarray(gray_HW.numpy()),
    )
    for given in (*forms, [gray_HW]):
        assert_same(run.segment(given), expected)


def test_an_image_has_the_noise_of_its_position(run: Run, images: Images) -> None:
    all_of_them = run.segment(images)
    alone = run.segment(images.images_BCHW[4], positions=[4])
    assert torch.allclose(alone.slots_BKD, all_of_them.slots_BKD[4:5], atol=1e-5)
    assert_same(
        run.segment(run.images("val", [2, 0])), run.segment(images.images_BCHW[[2, 0]], positions=[2, 0])
    )


def test_shapes_types_and_pictures(run: Run, images: Images) -> None:
    found = run.segment(images)
    assert found.images_BCHW.dtype == torch.uint8
    assert torch.equal(found.images_BCHW, images.images_BCHW)
    assert (tuple(found.slots_BKD.shape), found.slots_BKD.dtype) == ((6, 4, 64), torch.float32)
    assert (tuple(found.masks_BKHW.shape), found.masks_BKHW.dtype) == ((6, 4, 32, 32), torch.float32)
    assert found.reconstruction_BCHW is not None
    assert (tuple(found.reconstruction_BCHW.shape), found.reconstruction_BCHW.dtype) == (
        (6, 3, 32, 32),
        torch.uint8,
    )
    assert repr(found) == "<Segmentation of 6 images: 4 slots, 32x32 pixels, masks from the decoder>"
    sheet = found.picture()
    assert sheet.shape == (6 * 96 + 5 * 4, 3 * 96 + 2 * 4, 3)
    assert np.array_equal(sheet[:96:3, :96:3], images.images_BCHW[0].movedim(0, -1).numpy())
    assert found._repr_png_().startswith(b"\x89PNG")


VALUES = "write values as uint8 (0 to 255), or as floats from 0 to 1"
ARRAYS = "a NumPy array of an image has shape (H, W), (H, W, C)"
CHANNELS = "where C is 1, 3 or 4"
LAST = "channels seem to be last, as in NumPy: write images.movedim(-1, -3)"
FIRST = "channels seem to be first, as in torch: write np.moveaxis(images, -3, -1)"
TENSORS = "a tensor of an image has shape (H, W), (C, H, W)"
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: torch.zeros(3, 32, 32, dtype=torch.int64), f"images: it holds int64; {VALUES}"),
    (lambda: torch.full((3, 32, 32), 200.0), f"images: it holds floats from 200 to 200; {VALUES}"),
    (lambda: torch.full((3, 32, 32), -1.0), f"images: it holds floats from -1 to -1; {VALUES}"),
    (lambda: torch.full((3, 32, 32), torch.nan), f"images: it holds values that are not finite; {VALUES}"),
    (lambda: np.zeros((4, 4), dtype=bool), f"images: it holds bool; {VALUES}"),
    (lambda: np.array([["a"]]), f"images: it holds <U1; {VALUES}"),
    (
        lambda: torch.zeros(32, 30, 3),
        f"images: it has shape (32, 30, 3); {TENSORS} or, for several of one size, (B, C, H, W), {CHANNELS}; {LAST}",
    ),
    (
        lambda: [np.zeros((3, 32, 30))],
        f"image 0: it has shape (3, 32, 30); {ARRAYS}, {CHANNELS}; {FIRST}",
    ),
    (
        lambda: [torch.zeros(2, 3, 8, 8)],
        f"image 0: it has shape (2, 3, 8, 8); {TENSORS}, {CHANNELS}",
    ),
    (list, "there are no images; give at least one"),
    (
        lambda: 7,
        "images: it is a int; an image is a NumPy array, a torch tensor, a PIL image or the path of a file",
    ),
    (lambda: "none.png", "none.png: cannot be read: [Errno 2] No such file or directory: 'none.png'"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_what_is_no_image_is_refused_in_words(run: Run, given: Callable[[], Any], text: str) -> None:
    with pytest.raises(slotlab.SlotlabError) as error:
        run.segment(given())
    assert str(error.value) == text


def test_other_mistakes_are_told_in_words(run: Run) -> None:
    two = torch.zeros(2, 3, 32, 32)
    for options, text in (
        ({"positions": [0]}, "there are 1 positions for 2 images; give one for each"),
        ({"masks": "slots"}, "masks 'slots': write decoder or attention"),
    ):
        with pytest.raises(slotlab.SlotlabError) as error:
            run.segment(two, **options)  # type: ignore[arg-type]
        assert str(error.value) == text
    with pytest.raises(slotlab.SlotlabError) as error:
        run.segment(torch.zeros(2, 3, 30, 40), prepared=True)
    cropped = "without prepared=True it is cropped and resized"
    assert str(error.value) == f"image 0: it has 40x30 pixels, and the model takes 32x32; {cropped}"
