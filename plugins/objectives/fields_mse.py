"""Squared error of optical flow, depth and pictures: of one of them, or of several at once.

Sources: Kipf et al. 2022 (SAVi), section 3 and code, which predicts flow as a picture; Elsayed et al. 2022
(SAVi++), which adds depth. Flow (y, x) is shown as a color: the hue is the angle of the vector, the
saturation its length as a part of the picture's diagonal, times 50, at most 1; rest is white. Colors are
rounded to the 256 steps of a picture, as there. Depth d is log(1 + d).
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from math import hypot, pi
from typing import Annotated, Literal

import torch
from annotated_types import Len
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Decoded, Losses, Need, ObjectiveContext, TargetShape
from slotlab.registry import Component, ComponentConfig, hookimpl

Part = Literal["flow", "depth", "image"]
CHANNELS: Mapping[Part, int] = {"flow": 3, "depth": 1, "image": 3}
"""In the order in which they are predicted."""
STEPS = 255


class FieldsMSEConfig(ComponentConfig):
    """Settings of the squared error of flow, depth and pictures."""

    targets: Annotated[Mapping[Part, PositiveFloat], Len(1)] = {"flow": 1.0}
    """What is predicted, each with the weight of its error: `flow`, `depth`, `image`. SAVi predicts flow, on
    real videos pictures; SAVi++ `{flow: 1, depth: 1}`."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over the channels and pixels of each target; images are always averaged. SAVi sums."""
    saturation: PositiveFloat = 50.0
    """A flow has full color from the picture's diagonal divided by this on; longer ones look alike."""


class FieldsMSE:
    """The targets' channels one after the other, (B, C, H, W): flow (3), depth (1), image (3)."""

    def __init__(self, config: FieldsMSEConfig, context: ObjectiveContext):
        self.weights = {part: config.targets[part] for part in CHANNELS if part in config.targets}
        self.reduction = config.reduction
        self.saturation = config.saturation
        sizes = [CHANNELS[part] for part in self.weights]
        ends = list(accumulate(sizes))
        self.places = {
            part: slice(end - size, end) for part, size, end in zip(self.weights, sizes, ends, strict=True)
        }
        self.target_shape = TargetShape(ends[-1], context.image_size)

    @property
    def needs(self) -> list[Need]:
        """The fields that the target is made of."""
        named: tuple[Need, ...] = ("flow", "depth")
        return [one for one in named if one in self.weights]

    @torch.no_grad()
    def target(
        self,
        images_BCHW: Tensor,
        features_BCHW: Tensor,
        *,
        flow_B2HW: Tensor | None = None,
        depth_B1HW: Tensor | None = None,
    ) -> Tensor:
        """Return the targets; colors of flow are in [0, 1], pictures in the spec's value range."""
        found: dict[Part, Tensor] = {"image": images_BCHW}
        if flow_B2HW is not None:
            found["flow"] = flow_colors(flow_B2HW, self.saturation)
        if depth_B1HW is not None:
            found["depth"] = depth_B1HW.log1p()
        return torch.cat([found[part] for part in self.weights], dim=1)

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the weighted sum of the targets' errors, a scalar, and each error by its target's name."""
        target_BCHW = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW
        terms = {}
        for part, place in self.places.items():
            wanted_BCHW = target_BCHW[:, place]
            error = F.mse_loss(decoded.prediction_BCHW[:, place], wanted_BCHW)
            terms[str(part)] = error if self.reduction == "mean" else error * wanted_BCHW[0].numel()
        weighted = [weight * terms[part] for part, weight in self.weights.items()]
        return Losses(torch.stack(weighted).sum(), terms)

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the predicted picture; None if none is predicted: flow and depth show no scene."""
        return prediction_BCHW[:, self.places["image"]] if "image" in self.places else None


def flow_colors(flow_B2HW: Tensor, saturation: float) -> Tensor:
    """Return flow in pixels as colors (B, 3, H, W) in [0, 1], rounded to 256 steps.

    The angle is measured from the first number of a vector to the second, as in the published code, which
    calls them x and y; in Kubric's data they are row and column, so that only the hue is another.
    """
    first_BHW, second_BHW = flow_B2HW.unbind(dim=1)
    hue_BHW = (torch.atan2(second_BHW, first_BHW) / pi + 1) / 2
    length_BHW = torch.hypot(first_BHW, second_BHW)
    strength_BHW = (length_BHW * (saturation / hypot(*flow_B2HW.shape[2:]))).clamp(0, 1)
    # Of hue, saturation and value 1: each primary is full within a sixth of the circle around its own hue.
    shifts = hue_BHW.new_tensor([3.0, 2.0, 4.0])[:, None, None]
    sixths_B3HW = (hue_BHW[:, None] * 6 - shifts).abs()
    signs, offsets = hue_BHW.new_tensor([1.0, -1.0, -1.0]), hue_BHW.new_tensor([-1.0, 2.0, 2.0])
    pure_B3HW = (sixths_B3HW * signs[:, None, None] + offsets[:, None, None]).clamp(0, 1)
    colors_B3HW = 1 - strength_BHW[:, None] * (1 - pure_B3HW)
    return (colors_B3HW * (STEPS + 0.5)).floor().clamp(0, STEPS) / STEPS


@hookimpl
def slotlab_objectives() -> Iterable[Component[FieldsMSEConfig]]:
    """Provide `fields_mse`."""
    yield Component(
        name="fields_mse",
        config=FieldsMSEConfig,
        build=FieldsMSE,
        summary="squared error of optical flow, depth and pictures, one or several (SAVi, SAVi++)",
    )
