"""The requests of the page, validated before anything is computed."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NonNegative = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A position, slot or seed; whether it exists is checked later."""


class SlotOf(BaseModel):
    """A slot of an image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: NonNegative
    """The position in the split."""
    slot: NonNegative


class Pick(SlotOf):
    """A slot for a new picture, optionally interpolated toward another one."""

    toward: SlotOf | None = None
    amount: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The weight of `toward`: 0 gives the slot itself, 1 the other one."""


class CompositionRequest(BaseModel):
    """The slots of a new picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: Annotated[list[Pick], Field(min_length=1, max_length=64)]
    show: Literal["picture", "segments"] = "picture"


class DrawRequest(BaseModel):
    """The slots of a new picture, and which draw of it is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: Annotated[list[Pick], Field(min_length=1, max_length=64)]
    draw: NonNegative = 0
    """0 for the noise of the first slot's image, as in an evaluation; others have noise of their own."""


class ClipRequest(BaseModel):
    """The slots of a new clip; `image` of each is the number of a clip."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: Annotated[list[Pick], Field(min_length=1, max_length=64)]
    show: Literal["picture", "segments"] = "picture"
    frames: Annotated[int, Field(ge=1, le=240)] | None = None
    """How many to make, of a model that foretells; None for as many as the clips have."""
    form: Literal["film", "webp"] = "film"
    """All frames one above the other, or an animated picture."""
