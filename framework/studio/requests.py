"""What the page may ask for, checked before anything is computed."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Index = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A position, a slot or a seed; whether it is there is found out later."""


class SlotOf(BaseModel):
    """A slot of an image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: Index
    """Position in the split."""
    slot: Index


class Pick(SlotOf):
    """A slot for a new picture, moved toward another one if wanted."""

    toward: SlotOf | None = None
    amount: Annotated[float, Field(ge=0, le=1)] = 1.0
    """0 for the slot itself, 1 for the one that it is moved toward."""


class Composition(BaseModel):
    """The slots of a new picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: Annotated[list[Pick], Field(min_length=1, max_length=64)]
    show: Literal["picture", "segments"] = "picture"
