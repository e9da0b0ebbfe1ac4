"""What figures show of one image: the image, the model's outputs, and the slots."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slotlab.framework.contracts import Batch, Decoded, Model, PaintsSlots, Reconstruction
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.evaluation.evaluate import reconstruct, scored_size
from slotlab.framework.model.masks import masks_at
from slotlab.framework.spec.schema import ExperimentSpec

Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ImageView:
    """One image of a split with the model's outputs. H and W are the image size, K the number of slots."""

    id: str
    position: int
    """The position in the split."""
    image_HWC: NDArray[np.uint8]
    true_HW: NDArray[np.int64] | None
    """True labels, 0 for the background, `VOID` for pixels that are not scored."""
    predicted_HW: NDArray[np.int64] | None
    """The slot with the largest mask, from the mask source of the spec."""
    reconstruction_HWC: NDArray[np.uint8] | None
    masks_KHW: NDArray[np.float32] | None
    """The decoder's masks; they sum to one over K."""
    parts_KHWC: NDArray[np.uint8] | None
    """Each slot's part, before the decoder mixes them by the masks."""

    def by_slot(self) -> "NDArray[np.uint8] | None":
        """Return what each slot shows where its mask is, uint8 (K, H, W, C); None without masks.

        That is its part, or the image if the model has no parts: long clips have none.
        """
        if self.masks_KHW is None:
            return None
        shown = self.parts_KHWC
        if shown is None:
            shown = np.broadcast_to(self.image_HWC, (len(self.masks_KHW), *self.image_HWC.shape))
        return by_mask(shown, self.masks_KHW)


def view_images(
    spec: ExperimentSpec, model: Model, loader: Loader, positions: Iterable[int]
) -> Mapping[int, ImageView]:
    """Run the model on images of a split, with the same random numbers as in evaluation.

    Returns:
        The views by position; of a clip that of its middle frame.
    """
    views = view_clips(spec, model, loader, positions)
    return {position: frames[len(frames) // 2] for position, frames in views.items()}


def view_clips(
    spec: ExperimentSpec, model: Model, loader: Loader, positions: Iterable[int]
) -> Mapping[int, Sequence[ImageView]]:
    """Run the model on clips of a split as `view_images` does; return the views of all frames, by position.

    An image is a clip of one frame.
    """
    wanted = sorted(set(positions))
    views: dict[int, Sequence[ImageView]] = {}
    whole = replace(loader, rank=0, processes=1)  # the first of several processes draws figures of all images
    for group, batch in whole.share(wanted):
        made = reconstruct(spec, model, batch, group)
        frames = views_of(spec, model, batch, made, loader.bounds)
        for i, position in enumerate(group):
            own = frames[i * batch.frames : (i + 1) * batch.frames]
            views[position] = [replace(view, id=batch.ids[i], position=position) for view in own]
    return views


def views_of(
    spec: ExperimentSpec, model: Model, batch: Batch, made: Reconstruction, bounds: Bounds
) -> list[ImageView]:
    """Return the view of each image of a batch, still without id and position."""
    size = (batch.images_BCHW.shape[2], batch.images_BCHW.shape[3])
    predicted_BKHW = masks_at(made, spec.evaluation.mask_source, scored_size(batch))
    masks_BKHW = masks_at(made, "decoder", size)
    parts_BKCHW = parts_as_images(model, made.decoded, size)
    images_BCHW = made.images_BCHW
    return [
        ImageView(
            id="",
            position=0,
            image_HWC=as_picture(image_CHW, bounds),
            true_HW=None if batch.masks_BHW is None else batch.masks_BHW[i].cpu().numpy(),
            predicted_HW=None if predicted_BKHW is None else predicted_BKHW[i].argmax(0).cpu().numpy(),
            reconstruction_HWC=None if images_BCHW is None else as_picture(images_BCHW[i], bounds),
            masks_KHW=None if masks_BKHW is None else masks_BKHW[i].cpu().numpy(),
            parts_KHWC=None if parts_BKCHW is None else as_picture(parts_BKCHW[i], bounds),
        )
        for i, image_CHW in enumerate(batch.images_BCHW)
    ]


def parts_as_images(model: Model, decoded: Decoded | None, size: tuple[int, int]) -> Tensor | None:
    """Return the slots' parts as images (B, K, C, *size), or None if the model has none of this size."""
    parts_BKCHW = None if decoded is None else decoded.parts_BKCHW
    if parts_BKCHW is None or not isinstance(model, PaintsSlots):
        return None
    images_NCHW = model.to_image(parts_BKCHW.flatten(0, 1))
    if images_NCHW is None or tuple(images_NCHW.shape[2:]) != size:
        return None
    return images_NCHW.view(*parts_BKCHW.shape[:2], *images_NCHW.shape[1:])


def as_picture(image_CHW: Tensor, bounds: Bounds) -> NDArray[np.uint8]:
    """Return images (..., C, H, W) in `bounds` as uint8 (..., H, W, C)."""
    picture: NDArray[np.uint8] = to_uint8(image_CHW, bounds).movedim(-3, -1).cpu().numpy()
    return np.ascontiguousarray(picture)


def by_mask(parts_KHWC: NDArray[np.uint8], masks_KHW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return each part times its mask, uint8 (K, H, W, C): black where a slot has nothing."""
    product: NDArray[np.uint8] = (parts_KHWC * masks_KHW[..., None].clip(0, 1)).round().astype(np.uint8)
    return product
