"""Pass two images through a slot model part by part, and compare each part with its promises."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from slotlab.framework.contracts import (
    Decoded,
    Grouped,
    Losses,
    ModelOutput,
    Prepared,
    Sampler,
    Slots,
    TrainsWithTarget,
    Trial,
)
from slotlab.framework.contracts.promises import (
    check_sums,
    expect,
    expect_classes,
    expect_decoded,
    expect_grouped,
    expect_losses,
    expect_picture,
    expect_prepared,
    expect_slots,
)
from slotlab.framework.model.half_features import features_of
from slotlab.framework.model.half_targets import target_of
from slotlab.framework.model.needs import given_to
from slotlab.framework.model.prepared import trains_with_target
from slotlab.registry import ComponentError

if TYPE_CHECKING:
    from slotlab.framework.model.slot_model import SlotModel


@dataclass
class SlotTrial:
    """One pass; the trial knows the images and where in the spec the pass is."""

    trial: Trial
    model: "SlotModel"

    @property
    def images(self) -> int:
        """How many images are passed through."""
        return len(self.trial.images_BCHW)

    def through(self) -> None:
        """Pass two images through, as in training and then as in evaluation."""
        trial, model = self.trial, self.model
        features_BCHW = self.encode()
        tokens_BND = self.project(features_BCHW)
        initial = self.initial_slots(tokens_BND, None)
        grouped = self.group(tokens_BND, initial)
        target_BCHW, target_losses = self.target(features_BCHW), None
        if trains_with_target(model.objective):
            prepared = self.prepared(model.objective)
            target_BCHW, target_losses = prepared.target_BCHW, prepared.losses
        trial.at("model", "decoder", part=model.decoder)
        decoded = model.decoder(
            grouped.slots, target_BCHW=target_BCHW, generator=trial.stream(), **model.guide(grouped)
        )
        self.check_decoded(decoded, grouped, "forward")
        painted = self.paint(grouped, decoded, target_BCHW)
        self.check_objective(grouped.slots, decoded, painted, target_BCHW)
        grid = (features_BCHW.shape[2], features_BCHW.shape[3])
        self.check_auxiliaries(
            ModelOutput(
                images_BCHW=trial.images_BCHW,
                features_BCHW=features_BCHW,
                tokens_BND=tokens_BND,
                initial=initial,
                grouped=grouped,
                decoded=decoded,
                target_BCHW=target_BCHW,
                grid=grid,
                generator=trial.stream(),
                frames=trial.frames,
                target_losses=target_losses,
            )
        )
        number = trial.other_num_slots
        if number is not None and not model.fixed_num_slots:
            self.paint(self.group(tokens_BND, self.initial_slots(tokens_BND, number)), None, target_BCHW)

    def encode(self) -> Tensor:
        """Check the encoder, and return its features."""
        self.trial.at("model", "encoder", part=self.model.encoder)
        encoder: Any = self.model.encoder
        features_BCHW = features_of(encoder, self.trial.images_BCHW, half=self.model.half_features)
        what = "features, by the encoder's channels and grid,"
        expect(features_BCHW, (self.images, encoder.channels, *encoder.grid), what)
        self.trial.look(features_BCHW, "features")
        return features_BCHW

    def project(self, features_BCHW: Tensor) -> Tensor:
        """Check the projection with its position code, and return the tokens."""
        position: Any = self.model.projection.position
        self.trial.at("model", "projection", "position", part=position)
        tokens_BND: Tensor = self.model.projection(features_BCHW)
        rows, columns = features_BCHW.shape[2:]
        projection: Any = self.model.projection
        expect(tokens_BND, (self.images, rows * columns, projection.dim), "tokens")
        self.trial.look(tokens_BND, "tokens")
        return tokens_BND

    def initial_slots(self, tokens_BND: Tensor, number: int | None) -> Slots:
        """Check the initializer, perhaps with another number of slots, and return the slots."""
        self.trial.at("model", "initializer", part=self.model.initializer)
        slots = number or self.model.num_slots
        told = self.told(tokens_BND, slots)
        initial: Slots = self.model.initializer(tokens_BND, number, generator=self.trial.stream(), **told)
        shape = (self.images, slots, self.model.slot_dim)
        expect_slots(initial, shape)
        self.trial.look(initial.vectors_BKD, "slots")
        return initial

    def told(self, tokens_BND: Tensor, slots: int) -> dict[str, Tensor]:
        """Return what the initializer is told besides, as its argument."""
        return {}

    def group(self, tokens_BND: Tensor, initial: Slots, **rounds: int) -> Grouped:
        """Check the grouping, perhaps with other `iterations`, and return what it gives."""
        self.trial.at("model", "grouping", part=self.model.grouping)
        shape = (self.images, initial.vectors_BKD.shape[1], self.model.slot_dim)
        grouped: Grouped = self.model.grouping(tokens_BND, initial, generator=self.trial.stream(), **rounds)
        expect_grouped(grouped, shape, tokens_BND.shape[1])
        if self.model.traced and grouped.trace is None:
            text = "an auxiliary loss reads the grouping's trace, and this grouping makes none"
            raise ComponentError(f"{text}; take one that does, such as slot_attention")
        self.trial.look(grouped.slots.vectors_BKD, "slots")
        if self.trial.values:
            check_sums(grouped.attention_BKN, "attention")
        if has_weights(self.model.grouping) and not grouped.slots.vectors_BKD.requires_grad:
            raise ComponentError("slots have no gradient: its weights would never be trained")
        return grouped

    def target(self, features_BCHW: Tensor) -> Tensor:
        """Check the objective's target, and return it."""
        self.trial.at("objective")
        model, images_BCHW = self.model, self.trial.images_BCHW
        target = model.objective.target_shape
        given = given_to(model.objective, self.trial.frames, self.trial.fields)
        target_BCHW = target_of(model.objective, images_BCHW, features_BCHW, half=model.half_targets, **given)
        what = "the target, by the objective's target_shape,"
        expect(target_BCHW, (self.images, target.channels, *target.size), what, floating=False)
        if target.classes is not None:
            expect_classes(target_BCHW, "the target")
        self.trial.look(target_BCHW, "the target", draws=True)
        return target_BCHW

    def prepared(self, objective: TrainsWithTarget) -> Prepared:
        """Check the target of a loss and the losses of what makes it, and return both."""
        self.trial.at("objective")
        prepared = objective.prepare(self.trial.images_BCHW, generator=self.trial.stream())
        expect_prepared(prepared, self.images, self.model.objective.target_shape)
        assert prepared.losses is not None
        self.trial.look(prepared.target_BCHW, "the prepared target")
        self.trial.look(prepared.losses.total, "the loss of what makes the target")
        return prepared

    def check_decoded(self, decoded: object, grouped: Grouped, method: str) -> None:
        """Check what the decoder returns."""
        number, target = grouped.slots.vectors_BKD.shape[1], self.model.objective.target_shape
        expect_decoded(decoded, self.images, number, target, image=self.trial.image_size, method=method)
        assert isinstance(decoded, Decoded)
        of = " of sample" if method == "sample" else ""
        self.trial.look(decoded.prediction_BCHW, f"the prediction{of}")
        if self.trial.values and decoded.masks_BKHW is not None:
            check_sums(decoded.masks_BKHW, f"masks{of}", dropped=grouped.slots.keep_BK is not None)

    def paint(self, grouped: Grouped, decoded: Decoded | None, target_BCHW: Tensor) -> Decoded | None:
        """Check the picture that is shown and measured, and that masks exist if the spec scores them.

        Returns None for a decoder that needs the target, or that needs values where there are only shapes.
        """
        trial, slots, guide = self.trial, grouped.slots, self.model.guide(grouped)
        trial.at("model", "decoder")
        decoder, made, reason = self.model.decoder, None, ""
        if decoded is not None and self.model.is_told and not self.model.makes_pictures(target_BCHW):
            self.check_masks(decoded, "")
            return None
        if isinstance(decoder, Sampler):
            try:
                made = decoder.sample(slots, generator=trial.stream(), **guide)
                self.check_decoded(made, grouped, "sample")
            except (NotImplementedError, RuntimeError) as error:
                if trial.values or "meta" not in str(error):
                    raise
                made = None  # it needs values: `rehearsal` will check it with some
        else:
            try:
                made = decoder(slots, target_BCHW=None, generator=trial.stream(), **guide)
            except Exception as error:  # although it worked with the target
                reason = trial.explain(error)
            else:
                self.check_decoded(made, grouped, "forward")
        self.check_masks(decoded if made is None and not reason else made, reason)
        return made

    def check_masks(self, made: Decoded | None, reason: str) -> None:
        """Refuse to score the decoder's masks if it gives none without receiving the target."""
        if not self.trial.scores_decoder:
            return
        who = self.model.names.get("decoder", "decoder")
        self.trial.at("evaluation", "mask_source")
        if reason:
            text = "needs the target, which it does not receive in an evaluation, and has no method 'sample'"
            hint = f"write 'mask_source: attention' (without the target: {reason})"
            raise ComponentError(f"the {who} {text}; {hint}")
        if made is not None and made.masks_BKHW is None:
            raise ComponentError(f"the {who} has no masks; write 'mask_source: attention'")

    def check_objective(
        self, slots: Slots, decoded: Decoded, painted: Decoded | None, target_BCHW: Tensor
    ) -> None:
        """Check the loss, its gradient, and the picture that the objective makes of the prediction."""
        objective = self.model.objective
        self.trial.at("objective")
        losses = objective.loss(decoded, target_BCHW)
        expect_losses(losses)
        self.trial.look(losses.total, "the loss", draws=True)
        self.check_gradient(slots, decoded, losses.total)
        self.trial.at("objective")
        prediction_BCHW = decoded.prediction_BCHW if painted is None else painted.prediction_BCHW
        if painted is not None or decoded.target_BCHW is None:
            expect_picture(objective.to_image(prediction_BCHW), self.images, self.trial.image_size)

    def check_auxiliaries(self, output: ModelOutput) -> None:
        """Check each auxiliary loss."""
        auxiliaries = getattr(self.model, "auxiliary", {})
        for index, auxiliary in enumerate(auxiliaries.values()):
            self.trial.at("auxiliary", index)
            losses: Losses = auxiliary(output)
            expect_losses(losses)
            self.trial.look(losses.total, "the loss")

    def check_gradient(self, slots: Slots, decoded: Decoded, total: Tensor) -> None:
        """Refuse a loss without a gradient, and name the part that lost it."""
        given = (decoded.prediction_BCHW, decoded.masks_BKHW, decoded.parts_BKCHW)
        needed = slots.vectors_BKD.requires_grad or has_weights(self.model.decoder)
        lost = not any(tensor is not None and tensor.requires_grad for tensor in given)
        if (lost and needed) or not (total.requires_grad or decoded.prediction_BCHW.requires_grad):
            self.trial.at("model", "decoder")
            raise ComponentError("the prediction has no gradient: nothing could be learned from it")
        if not total.requires_grad:
            raise ComponentError("the loss has no gradient: nothing could be learned from it")


def has_weights(part: nn.Module) -> bool:
    """Return whether a part has weights to train."""
    return any(parameter.requires_grad for parameter in part.parameters())
