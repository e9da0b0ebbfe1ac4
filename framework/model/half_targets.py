"""The target of an objective that looks at images alone, rounded to 16 bits: what a store of targets holds.

Real numbers are treated as features are (see `half_features`). Classes are not rounded, but they, too, are
chosen in float32 whatever the training's precision, which may take another class where two are close.
"""

from typing import Any

from torch import Tensor

from slotlab.framework.contracts import Objective
from slotlab.framework.data.store.feature_format import Number
from slotlab.framework.data.store.features import widened
from slotlab.framework.model.half_features import in_float32, rounded

MOST = 2**15
"""The most classes whose indices 16 bits with a sign hold."""


def target_of(
    objective: Objective, images_BCHW: Tensor, features_BCHW: Tensor, *, half: bool, **given: Any
) -> Tensor:
    """Return the target (B, *target_shape) of images, rounded to 16 bits if `half`; float32, or int64.

    What is `given` besides is for an objective that needs it, whose targets are never half.
    """
    if not half:
        return objective.target(images_BCHW, features_BCHW, **given)
    return widened(rounded_target(objective, images_BCHW))


def rounded_target(objective: Objective, images_BCHW: Tensor) -> Tensor:
    """Return the target of images as a store holds it, (B, *target_shape), channels last.

    What is larger than 16 bits hold becomes infinite; classes that do not exist stay what they are.
    """

    def make(images_BCHW: Tensor) -> Tensor:
        return objective.target(images_BCHW, images_BCHW.new_empty(0))  # it reads no features

    target_BCHW = in_float32(make, images_BCHW)
    return target_BCHW if objective.target_shape.classes is not None else rounded(target_BCHW)


def number_of(objective: Objective) -> Number:
    """Return the type of what a store holds of the objective's target."""
    classes = objective.target_shape.classes
    if classes is None:
        return "<f2"
    return "<i2" if classes <= MOST else "<i4"
