"""The masks that are scored and shown: the decoder's, or the attention, at any size."""

import torch
from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Found, MaskSource, Reconstruction
from slotlab.framework.model.kept_slots import kept


def masks_at(made: Reconstruction, source: MaskSource, size: tuple[int, int]) -> Tensor | None:
    """Return the masks of a source, float32 (B, K, *size); None if there are none.

    Slots that were dropped (`Slots.keep_BK`) have no attention; the decoder leaves them out by itself.
    """
    if source == "decoder":
        masks_BKHW = None if made.decoded is None else made.decoded.masks_BKHW
    else:
        masks_BKHW = kept_attention(made.found)
    if masks_BKHW is None:
        return None
    return resized_masks(masks_BKHW, size)


def kept_attention(found: Found | None) -> Tensor | None:
    """Return the attention (B, K, H, W), shared out among the slots that were kept."""
    if found is None or found.attention_BKHW is None:
        return None
    return kept(found.attention_BKHW, found.slots.keep_BK)


def labels_of(masks_BKHW: Tensor, made: Reconstruction) -> Tensor:
    """Return the slot with the largest mask at each pixel, int64 (B, H, W): never a dropped one.

    Where all slots of an image are dropped every pixel has the label 0: it is one segment.
    """
    keep_BK = None if made.found is None else made.found.slots.keep_BK
    if keep_BK is not None:  # masks may be 0 everywhere, where what was kept had nothing at all
        masks_BKHW = masks_BKHW.masked_fill((keep_BK == 0)[:, :, None, None], -1.0)
    return masks_BKHW.argmax(dim=1)


def resized_masks(masks_BKHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks as float32 (B, K, *size), resized bilinearly, which keeps their sum over K."""
    masks_BKHW = masks_BKHW.to(torch.float32)
    if tuple(masks_BKHW.shape[2:]) == size:
        return masks_BKHW
    return F.interpolate(masks_BKHW, size=size, mode="bilinear", align_corners=False)
