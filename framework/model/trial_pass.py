"""Pass two images through a model, part by part, and compare each part with its promises.

On the meta device only shapes are checked; with real images, values are checked too.
"""

from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Decoded, Grouped, Sampler, Slots
from slotlab.framework.contracts.promises import (
    check_sums,
    expect,
    expect_decoded,
    expect_finite,
    expect_grouped,
    expect_losses,
    expect_picture,
    expect_slots,
)
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.spec.errors import Path, PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ComponentError, Ref, SlotlabError
from slotlab.registry.errors import describe

OWN_STREAM = "draws from torch's own random stream; in an evaluation all randomness comes from `generator`"


@dataclass
class Walk:
    """One pass through a model, which remembers the part it is in."""

    spec: ExperimentSpec
    model: SlotModel
    images_BCHW: Tensor
    """Two images, on the model's device."""
    path: Path = ("model",)
    """The path in the spec of the part that the pass is in."""
    drawn: list[Tensor] = field(default_factory=list)
    """The state of torch's own random streams when the part was entered."""

    def problem(self) -> PathProblem | None:
        """Pass the images through; return the first mistake, at the part that made it."""
        try:
            self.through()
        except SlotlabError as error:
            return PathProblem(self.path, f"{self.name}{error}")
        except (Exception, SystemExit) as error:  # a third party's component may fail in any way
            rows, columns = self.spec.data.size
            text = f"fails on images of {columns}x{rows} pixels: {describe(error, self.file)}"
            return PathProblem(self.path, f"{self.name}{text}")
        return None

    @property
    def values(self) -> bool:
        """Whether tensors have values, not only shapes."""
        return self.images_BCHW.device.type != "meta"

    @property
    def ref(self) -> Ref | None:
        """The component that the pass is in; None outside of components."""
        value: Any = self.spec
        for part in self.path:
            value = getattr(value, str(part))
        return value if isinstance(value, Ref) else None

    @property
    def name(self) -> str:
        """The component's name, as the beginning of a message."""
        return "" if self.ref is None else f"{self.ref.name}: "

    @property
    def file(self) -> FilePath | None:
        """The single-file plugin that the part comes from; None for others."""
        return None if self.ref is None else self.ref.registered.path

    def through(self) -> None:
        """Pass two images through, as in training and then as in evaluation."""
        spec, model = self.spec, self.model
        shape = (2, spec.model.slots, spec.model.slot_dim)
        features_BCHW = self.encode()
        tokens_BND = self.project(features_BCHW)
        grouped = self.group(tokens_BND, self.initial_slots(tokens_BND, None, shape), shape)
        target_BCHW = self.target(features_BCHW)
        self.at("model", "decoder", part=model.decoder)
        decoded = model.decoder(grouped.slots, target_BCHW=target_BCHW, generator=self.stream())
        self.check_decoded(decoded, shape[1], "forward")
        painted = self.paint(grouped.slots, decoded)
        self.check_objective(grouped.slots, decoded, painted, target_BCHW)
        number = spec.evaluation.slots
        if number not in (None, spec.model.slots) and not model.initializer.fixed_num_slots:
            shape = (2, number, spec.model.slot_dim)
            initial = self.initial_slots(tokens_BND, number, shape)
            self.paint(self.group(tokens_BND, initial, shape).slots, None)

    def encode(self) -> Tensor:
        """Check the encoder, and return its features."""
        self.at("model", "encoder", part=self.model.encoder)
        encoder: Any = self.model.encoder
        features_BCHW: Tensor = encoder(self.images_BCHW)
        what = "features, by the encoder's channels and grid,"
        expect(features_BCHW, (2, encoder.channels, *encoder.grid), what)
        self.look(features_BCHW, "features")
        return features_BCHW

    def project(self, features_BCHW: Tensor) -> Tensor:
        """Check the projection with its position code, and return the tokens."""
        position: Any = self.model.projection.position
        self.at("model", "projection", "position", part=position)
        tokens_BND: Tensor = self.model.projection(features_BCHW)
        rows, columns = features_BCHW.shape[2:]
        token_dim = self.spec.model.projection.dim or self.spec.model.slot_dim
        expect(tokens_BND, (2, rows * columns, token_dim), "tokens")
        self.look(tokens_BND, "tokens")
        return tokens_BND

    def target(self, features_BCHW: Tensor) -> Tensor:
        """Check the objective's target, and return it."""
        self.at("objective")
        target = self.model.objective.target_shape
        target_BCHW = self.model.objective.target(self.images_BCHW, features_BCHW)
        what = "the target, by the objective's target_shape,"
        expect(target_BCHW, (2, target.channels, *target.size), what, floating=False)
        self.look(target_BCHW, "the target", draws=True)
        return target_BCHW

    def check_objective(
        self, slots: Slots, decoded: Decoded, painted: Decoded | None, target_BCHW: Tensor
    ) -> None:
        """Check the loss, its gradient, and the picture that the objective makes of the prediction."""
        objective, size = self.model.objective, self.spec.data.size
        self.at("objective")
        losses = objective.loss(decoded, target_BCHW)
        expect_losses(losses)
        self.look(losses.total, "the loss", draws=True)
        self.check_gradient(slots, decoded, losses.total)
        self.at("objective")
        prediction_BCHW = decoded.prediction_BCHW if painted is None else painted.prediction_BCHW
        if painted is not None or decoded.target_BCHW is None:
            expect_picture(objective.to_image(prediction_BCHW), 2, size)

    def at(self, *path: str, part: object = None) -> None:
        """Enter a part, and check that one with weights is a module."""
        self.path, self.drawn = path, own_streams(self.images_BCHW.device)
        if part is not None and not isinstance(part, nn.Module):
            raise ComponentError(f"what it builds should be a torch.nn.Module, not a {type(part).__name__}")

    def stream(self) -> Generator | None:
        """Return a random stream for a part; None on the meta device."""
        return Generator(self.images_BCHW.device).manual_seed(self.spec.seed) if self.values else None

    def look(self, found: Tensor, what: str, *, draws: bool = False) -> None:
        """Refuse values that are not finite, and draws from torch's own stream unless `draws` allows them."""
        if not self.values:
            return
        expect_finite(found, what)
        now = own_streams(self.images_BCHW.device)
        if not draws and any(not torch.equal(a, b) for a, b in zip(self.drawn, now, strict=True)):
            raise ComponentError(OWN_STREAM)
        self.drawn = now

    def initial_slots(self, tokens_BND: Tensor, number: int | None, shape: tuple[int, int, int]) -> Slots:
        """Check the initializer, perhaps with another number of slots, and return the slots."""
        self.at("model", "initializer", part=self.model.initializer)
        initial: Slots = self.model.initializer(tokens_BND, number, generator=self.stream())
        expect_slots(initial, shape)
        self.look(initial.vectors_BKD, "slots")
        return initial

    def group(self, tokens_BND: Tensor, initial: Slots, shape: tuple[int, int, int]) -> Grouped:
        """Check the grouping, and return what it gives."""
        self.at("model", "grouping", part=self.model.grouping)
        grouped: Grouped = self.model.grouping(tokens_BND, initial, generator=self.stream())
        expect_grouped(grouped, shape, tokens_BND.shape[1])
        self.look(grouped.slots.vectors_BKD, "slots")
        if self.values:
            check_sums(grouped.attention_BKN, "attention")
        if has_weights(self.model.grouping) and not grouped.slots.vectors_BKD.requires_grad:
            raise ComponentError("slots have no gradient: its weights would never be trained")
        return grouped

    def check_decoded(self, decoded: object, slots: int, method: str) -> None:
        """Check what the decoder returns."""
        size, target = self.spec.data.size, self.model.objective.target_shape
        expect_decoded(decoded, 2, slots, target, image=size, method=method)
        assert isinstance(decoded, Decoded)
        of = " of sample" if method == "sample" else ""
        self.look(decoded.prediction_BCHW, f"the prediction{of}")
        if self.values and decoded.masks_BKHW is not None:
            check_sums(decoded.masks_BKHW, f"masks{of}")

    def paint(self, slots: Slots, decoded: Decoded | None) -> Decoded | None:
        """Check the picture that is shown and measured, and that masks exist if the spec scores them.

        Returns None for a decoder that needs the target, or that needs values where there are only shapes.
        """
        self.at("model", "decoder")
        decoder, made, reason = self.model.decoder, None, ""
        number = slots.vectors_BKD.shape[1]
        if isinstance(decoder, Sampler):
            try:
                made = decoder.sample(slots, generator=self.stream())
                self.check_decoded(made, number, "sample")
            except (NotImplementedError, RuntimeError) as error:
                if self.values or "meta" not in str(error):
                    raise
                made = None  # it needs values: `rehearsal` will check it with some
        else:
            try:
                made = decoder(slots, target_BCHW=None, generator=self.stream())
            except Exception as error:  # although it worked with the target
                reason = describe(error, self.file)
            else:
                self.check_decoded(made, number, "forward")
        self.check_masks(decoded if made is None and not reason else made, reason)
        return made

    def check_masks(self, made: Decoded | None, reason: str) -> None:
        """Refuse to score the decoder's masks if it gives none without receiving the target."""
        if self.spec.evaluation.mask_source != "decoder":
            return
        name = self.spec.model.decoder.name
        self.path = ("evaluation", "mask_source")
        if reason:
            text = "needs the target, which it does not receive in an evaluation, and has no method 'sample'"
            hint = f"write 'mask_source: attention' (without the target: {reason})"
            raise ComponentError(f"the decoder '{name}' {text}; {hint}")
        if made is not None and made.masks_BKHW is None:
            raise ComponentError(f"the decoder '{name}' has no masks; write 'mask_source: attention'")

    def check_gradient(self, slots: Slots, decoded: Decoded, total: Tensor) -> None:
        """Refuse a loss without a gradient, and name the part that lost it."""
        given = (decoded.prediction_BCHW, decoded.masks_BKHW, decoded.parts_BKCHW)
        needed = slots.vectors_BKD.requires_grad or has_weights(self.model.decoder)
        lost = not any(tensor is not None and tensor.requires_grad for tensor in given)
        if (lost and needed) or not (total.requires_grad or decoded.prediction_BCHW.requires_grad):
            self.path = ("model", "decoder")
            raise ComponentError("the prediction has no gradient: nothing could be learned from it")
        if not total.requires_grad:
            raise ComponentError("the loss has no gradient: nothing could be learned from it")


def has_weights(part: nn.Module) -> bool:
    """Return whether a part has weights to train."""
    return any(parameter.requires_grad for parameter in part.parameters())


def own_streams(device: torch.device) -> list[Tensor]:
    """Return the state of torch's global random streams."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
