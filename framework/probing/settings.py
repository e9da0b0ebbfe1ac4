"""Settings of a probe. The defaults are those of Dittadi et al. 2022 (object-centric-library)."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from slotlab.registry import ComponentConfig

HeadKind = Literal["linear", "mlp"]
Matching = Literal["mask", "loss"]
AtLeastTwo = Annotated[int, Field(ge=2)]


class ProbeSettings(ComponentConfig):
    """What is probed, on which images, and how heads are fitted."""

    heads: tuple[HeadKind, ...] = ("linear", "mlp")
    """The heads, each applied to every slot by itself."""
    matchings: tuple[Matching, ...] | None = None
    """How objects and slots are paired: by the overlap of their `mask`s, or by the sum of the heads' `loss`es
    (Hungarian both). None for those that the data and the model allow."""
    overlap: Literal["cosine", "iou"] = "cosine"
    """Of masks: the cosine of the true mask and the soft one, or the IoU with the pixels that a slot wins."""
    attributes: tuple[str, ...] | None = None
    """Names of objects' attributes; None for all that can be probed."""
    categorical: tuple[str, ...] = ()
    """Attributes to be classified whatever their values look like."""
    numerical: tuple[str, ...] = ()
    """Attributes to be regressed whatever their values look like."""
    extras: bool = False
    """Whether heads also see what belongs to a slot besides its vector, such as its pose."""
    floors: bool = True
    """Whether the floors are fitted too: slots of another image, and the mean color under a slot's mask."""
    set_prediction: bool = True
    """Whether a head also predicts the set of objects, which is measured by average precision."""
    fit_images: AtLeastTwo = 10_000
    """The most images that heads are fitted on."""
    validation_images: AtLeastTwo = 1_024
    """The most images of the same split that stop the fitting; a fifth of a split at most."""
    images: AtLeastTwo = 2_000
    """The most images of the evaluated split that heads are tested on: the first ones."""
    hidden: PositiveInt = 256
    """The width of the MLP's hidden layers."""
    hidden_layers: PositiveInt = 1
    """The number of the MLP's hidden layers, each with a leaky ReLU."""
    steps: PositiveInt = 6_000
    """The most steps of fitting, by Adam."""
    batch_size: PositiveInt = 64
    """Images in a step."""
    lr: PositiveFloat = 1e-3
    """The learning rate at first."""
    halve_at: tuple[PositiveInt, ...] = (2_000, 4_000)
    """The steps after which the learning rate is halved."""
    check_every: PositiveInt = 250
    """The steps between two looks at the validation images."""
    patience: NonNegativeInt = 3
    """How many looks without progress end the fitting; 0 never ends it early."""
    min_delta: NonNegativeFloat = 0.01
    """By how much the validation loss must fall to count as progress (set prediction: by anything)."""
    seed: NonNegativeInt = 0
    """Of the heads' first weights, of the order of images, and of which images are fitted on."""
