"""What the modules of each kind are tried on: contexts, inputs, how they are called, what they promise."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Generator, Tensor

from slotlab.framework.contracts import (
    DynamicsContext,
    EncoderContext,
    GroupingContext,
    InitializerContext,
    PositionContext,
    PredictorContext,
    Slots,
)
from slotlab.framework.contracts.promises import (
    expect,
    expect_foretold,
    expect_grouped,
    expect_predicted,
    expect_slots,
)
from slotlab.framework.laws.inputs import noise, pictures, told_to
from slotlab.registry import ComponentError

Tensors = tuple[Tensor, ...]
SIDES = (16, 32, 64, 128, 224)
"""Sides of the images on which a component is tried, until one is accepted."""


class Bench:
    """What the laws know of a kind."""

    told: ClassVar[type] = object
    """What its components are told."""
    draws = False
    """Whether it is given a generator."""

    def contexts(self) -> Sequence[Any]:
        """Return contexts, of which the first that a component accepts is the usual one."""
        raise NotImplementedError

    def contexts_of(self, config: Any) -> Sequence[Any]:
        """Return the contexts for a component with these settings."""
        return self.contexts()

    def others(self, context: Any) -> Sequence[tuple[str, Any]]:
        """Return other contexts that a component should fit, or refuse, each with a name."""
        raise NotImplementedError

    def inputs(self, context: Any, batch: int, seed: int) -> Tensors:
        """Return what a component is called with, the first axis being images."""
        raise NotImplementedError

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Call a component as its contract says; return all tensors of the result, images first.

        Raises:
            ComponentError: if the result is not what the contract promises.
        """
        raise NotImplementedError


def sides(side: int) -> tuple[tuple[str, tuple[int, int]], ...]:
    """Return two sizes that are no squares, with names."""
    wide, high = (side, side + side // 2), (side + side // 2, side)
    return (f"{wide[1]}x{wide[0]} pixels (wide)", wide), (f"{high[1]}x{high[0]} pixels (high)", high)


class EncoderBench(Bench):
    """Encoders: images of several sizes."""

    told = EncoderContext

    def contexts(self) -> Sequence[EncoderContext]:
        """Return square images."""
        return [EncoderContext(image_size=(side, side)) for side in SIDES[1:]]

    def others(self, context: EncoderContext) -> Sequence[tuple[str, EncoderContext]]:
        """Return images that are no squares."""
        return [(name, EncoderContext(image_size=size)) for name, size in sides(context.image_size[0])]

    def inputs(self, context: EncoderContext, batch: int, seed: int) -> Tensors:
        """Return images."""
        return (pictures(batch, *context.image_size, seed=seed),)

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return the features."""
        for name in ("channels", "grid"):
            if not hasattr(part, name):
                raise ComponentError(f"an encoder says its '{name}', and this one does not")
        found: Tensor = part(inputs[0])
        what = f"features, by its channels ({part.channels}) and grid {part.grid},"
        expect(found, (len(inputs[0]), part.channels, *part.grid), what)
        return (found,)


class PositionBench(Bench):
    """Position codes: feature maps."""

    told = PositionContext

    def contexts(self) -> Sequence[PositionContext]:
        """Return a square map."""
        return [PositionContext(grid=(4, 4), dim=8), PositionContext(grid=(4, 4), dim=12)]

    def others(self, context: PositionContext) -> Sequence[tuple[str, PositionContext]]:
        """Return maps that are no squares, and another width."""
        sizes = {"3x5 positions": ((3, 5), 8), "5x3 positions": ((5, 3), 8), "width 12": ((4, 4), 12)}
        return [(name, PositionContext(grid=grid, dim=dim)) for name, (grid, dim) in sizes.items()]

    def inputs(self, context: PositionContext, batch: int, seed: int) -> Tensors:
        """Return a feature map."""
        return (noise(batch, context.dim, *context.grid, seed=seed),)

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return the map that knows where it is."""
        found: Tensor = part(inputs[0])
        expect(found, tuple(inputs[0].shape), "what it makes of a feature map")
        return (found,)


class InitializerBench(Bench):
    """Initializers: tokens."""

    told = InitializerContext
    draws = True

    def contexts(self) -> Sequence[InitializerContext]:
        """Return four slots."""
        return [InitializerContext(num_slots=4, slot_dim=8, token_dim=6)]

    def others(self, context: InitializerContext) -> Sequence[tuple[str, InitializerContext]]:
        """Return other numbers and widths."""
        return [
            ("3 slots of width 12", InitializerContext(num_slots=3, slot_dim=12, token_dim=5)),
            ("7 slots as wide as the tokens", InitializerContext(num_slots=7, slot_dim=16, token_dim=16)),
            ("slots narrower than tokens", InitializerContext(num_slots=5, slot_dim=4, token_dim=24)),
        ]

    def inputs(self, context: InitializerContext, batch: int, seed: int) -> Tensors:
        """Return tokens."""
        return (noise(batch, 15, context.token_dim, seed=seed),)

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return the slots and what belongs to them."""
        if not isinstance(getattr(part, "fixed_num_slots", None), bool):
            raise ComponentError(
                "an initializer says in 'fixed_num_slots' whether its number of slots is fixed"
            )
        told = told_to(part, inputs[0], context.num_slots)
        slots = part(inputs[0], None, generator=generator, **told)
        expect_slots(slots, (len(inputs[0]), context.num_slots, context.slot_dim))
        return slots.vectors_BKD, *slots.extras.values()


class GroupingBench(Bench):
    """Groupings: tokens and slots."""

    told = GroupingContext
    draws = True

    def contexts(self) -> Sequence[GroupingContext]:
        """Return tokens of a square map."""
        return [
            GroupingContext(slot_dim=dim, token_dim=tokens, grid=(4, 4)) for dim, tokens in ((8, 6), (64, 64))
        ]

    def others(self, context: GroupingContext) -> Sequence[tuple[str, GroupingContext]]:
        """Return other layouts and widths."""
        width: dict[str, Any] = {"slot_dim": context.slot_dim, "token_dim": context.token_dim}
        return [
            ("tokens in 3x5 positions", GroupingContext(**width, grid=(3, 5))),
            ("tokens in 5x3 positions", GroupingContext(**width, grid=(5, 3))),
            ("slots of width 12", GroupingContext(slot_dim=12, token_dim=20, grid=(4, 4))),
            ("slots as wide as the tokens", GroupingContext(slot_dim=16, token_dim=16, grid=(4, 4))),
        ]

    def inputs(self, context: GroupingContext, batch: int, seed: int) -> Tensors:
        """Return tokens and the vectors of four slots."""
        rows, columns = context.grid
        return (
            noise(batch, rows * columns, context.token_dim, seed=seed),
            noise(batch, 4, context.slot_dim, seed=seed + 1),
        )

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return slots, attention and what belongs to the slots."""
        grouped = part(inputs[0], Slots(inputs[1]), generator=generator)
        expect_grouped(
            grouped, (inputs[1].shape[0], inputs[1].shape[1], context.slot_dim), inputs[0].shape[1]
        )
        return grouped.slots.vectors_BKD, grouped.attention_BKN, *grouped.slots.extras.values()


class PredictorBench(Bench):
    """Predictors: the slots of two frames."""

    told = PredictorContext

    def contexts(self) -> Sequence[PredictorContext]:
        """Return four slots, narrow ones first."""
        return [PredictorContext(slot_dim=dim, num_slots=4, token_dim=6) for dim in (8, 64)]

    def others(self, context: PredictorContext) -> Sequence[tuple[str, PredictorContext]]:
        """Return other numbers and widths."""
        return [
            ("7 slots of width 16", PredictorContext(slot_dim=16, num_slots=7, token_dim=16)),
            ("a single slot", PredictorContext(slot_dim=context.slot_dim, num_slots=1, token_dim=6)),
        ]

    def inputs(self, context: PredictorContext, batch: int, seed: int) -> Tensors:
        """Return the vectors of the slots of two frames."""
        shape = (batch, context.num_slots, context.slot_dim)
        return noise(*shape, seed=seed), noise(*shape, seed=seed + 1)

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return the slots predicted after each frame, and what is remembered in the end."""
        if not callable(getattr(part, "start", None)):
            text = "a predictor says in 'start(slots)' what it remembers before its first prediction"
            raise ComponentError(f"{text}, and this one does not")
        state, found = part.start(Slots(inputs[0])), []
        for vectors in inputs:
            predicted = part(Slots(vectors), state)
            expect_predicted(predicted, Slots(vectors))
            slots, state = predicted
            found.append(slots.vectors_BKD)
        return *found, *(state or {}).values()


class DynamicsBench(Bench):
    """Dynamics: the slots of a history."""

    told = DynamicsContext
    steps = 3

    def contexts(self) -> Sequence[DynamicsContext]:
        """Return four slots and three frames."""
        return [DynamicsContext(slot_dim=dim, num_slots=4, history=3) for dim in (8, 64)]

    def others(self, context: DynamicsContext) -> Sequence[tuple[str, DynamicsContext]]:
        """Return other numbers and widths, and short and long histories."""
        dim = context.slot_dim
        return [
            ("7 slots of width 16", DynamicsContext(slot_dim=16, num_slots=7, history=2)),
            ("a single slot", DynamicsContext(slot_dim=dim, num_slots=1, history=6)),
            ("a history of one frame", DynamicsContext(slot_dim=dim, num_slots=4, history=1)),
        ]

    def inputs(self, context: DynamicsContext, batch: int, seed: int) -> Tensors:
        """Return the slots of all frames."""
        return (noise(batch, context.history, context.num_slots, context.slot_dim, seed=seed),)

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return the slots of the frames that follow."""
        foretold_BTKD: Tensor = part(inputs[0], self.steps)
        expect_foretold(foretold_BTKD, inputs[0], self.steps)
        return (foretold_BTKD,)
