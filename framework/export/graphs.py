"""What is exported of a slot model, as two modules of tensors alone.

Axes: B images, C channels, H rows, W columns, K slots, D slot width, N tokens (h x w, the feature map's).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Guided, Sampler, Slots
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.randomness.seeds import streams
from slotlab.registry import SlotlabError

IMAGES, SLOTS, ATTENTION, MASKS, RECONSTRUCTION = "images", "slots", "attention", "masks", "reconstruction"
INITIAL = "initial_"
"""The beginning of the names of inputs that take the place of what the initializer draws."""


@dataclass(frozen=True)
class Graph:
    """A module to export, with its example inputs."""

    name: str
    """`encoder` or `decoder`."""
    module: nn.Module
    inputs: Mapping[str, Tensor]
    """Float32, with a first axis of images."""
    outputs: Sequence[str]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the module itself makes of inputs."""
        with torch.no_grad():
            found: tuple[Tensor, ...] = self.module(*inputs.values())
        return dict(zip(self.outputs, found, strict=True))


class EncoderGraph(nn.Module):
    """Images and, where the initializer draws, initial slots; returns slots, their extras and attention."""

    def __init__(self, model: SlotModel, initial: Sequence[str], extras: Sequence[str]):
        super().__init__()
        self.model, self.initial, self.extras = model, initial, extras

    def forward(self, images_BCHW: Tensor, *initial: Tensor) -> tuple[Tensor, ...]:
        """Return (B, K, D), extras, and attention (B, K, h, w)."""
        model = self.model
        features_BCHW, tokens_BND = model.tokens(images_BCHW, None)
        given = (
            slots_of(self.initial, initial)
            if self.initial
            else model.initializer(tokens_BND, None, generator=None)
        )
        grouped = model.grouping(tokens_BND, given, generator=None)
        attention_BKN = grouped.attention_BKN
        attention_BKHW = attention_BKN.unflatten(2, tuple(features_BCHW.shape[2:]))
        slots = grouped.slots
        return slots.vectors_BKD, *(slots.extras[name] for name in self.extras), attention_BKHW


class DecoderGraph(nn.Module):
    """Slots and their extras; returns pictures in the spec's value range, and masks, if there are any."""

    def __init__(self, model: SlotModel, extras: Sequence[str], outputs: Sequence[str]):
        super().__init__()
        self.model, self.extras, self.outputs = model, extras, outputs

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Return pictures (B, 3, H, W), and masks (B, K, H, W) that sum to one over K."""
        decoded = self.model.decoder(slots_of((SLOTS, *self.extras), given), target_BCHW=None, generator=None)
        found = {MASKS: decoded.masks_BKHW}
        if RECONSTRUCTION in self.outputs:
            found[RECONSTRUCTION] = self.model.to_image(decoded.prediction_BCHW)
        return tuple(tensor for name in self.outputs if (tensor := found[name]) is not None)


def slots_of(names: Sequence[str], tensors: Sequence[Tensor]) -> Slots:
    """Return slots of their vectors and extras."""
    return Slots(
        tensors[0], dict(zip([name.removeprefix(INITIAL) for name in names[1:]], tensors[1:], strict=True))
    )


def encoder_graph(model: SlotModel, images_BCHW: Tensor, seed: int) -> Graph:
    """Return the part of a model that finds slots.

    Where the initializer draws, the example's initial slots are those that an evaluation draws from `seed`
    for the first images.

    Raises:
        SlotlabError: if the grouping draws noise.
    """
    batch = len(images_BCHW)
    with torch.no_grad():
        _, tokens_BND = model.tokens(images_BCHW, None)
        stream = Generator().manual_seed(0)
        before = stream.get_state()
        first = model.initializer(tokens_BND, None, generator=stream)
        draws = not torch.equal(stream.get_state(), before)
        before = stream.get_state()
        grouped = model.grouping(tokens_BND, first, generator=stream)
    if not torch.equal(stream.get_state(), before):
        name = model.names.get("grouping", "grouping")
        raise SlotlabError(f"the {name} draws noise while it finds slots, and cannot be exported")
    extras = tuple(grouped.slots.extras)
    initial: dict[str, Tensor] = {}
    if draws:
        noise = enumerate(streams(seed, range(batch), images_BCHW.device))
        with torch.no_grad():
            drawn = [model.initializer(tokens_BND[i : i + 1], None, generator=one) for i, one in noise]
            # Joined here, as what a part of them learned would still ask for a gradient.
            initial = {f"{INITIAL}{SLOTS}": torch.cat([one.vectors_BKD for one in drawn])}
            initial |= {
                f"{INITIAL}{name}": torch.cat([one.extras[name] for one in drawn]) for name in first.extras
            }
    module = EncoderGraph(model, tuple(initial), extras).eval()
    return Graph("encoder", module, {IMAGES: images_BCHW, **initial}, (SLOTS, *extras, ATTENTION))


def decoder_graph(model: SlotModel, slots: Mapping[str, Tensor]) -> Graph:
    """Return the part of a model that makes pictures of slots.

    Args:
        model: the model.
        slots: slots and their extras by name, as the encoder's graph returns them.

    Raises:
        SlotlabError: for a decoder that makes pictures in many steps, needs more than slots, or makes neither
            pictures nor masks.
    """
    decoder, name = model.decoder, model.names.get("decoder", "decoder")
    if isinstance(decoder, Sampler):
        raise SlotlabError(
            f"the {name} makes pictures step by step, which is no graph; export the encoder alone"
        )
    if isinstance(decoder, Guided) and decoder.guided:
        raise SlotlabError(f"the {name} reads the grouping besides slots; export the encoder alone")
    extras = tuple(key for key in slots if key != SLOTS)
    stream = Generator().manual_seed(0)
    before = stream.get_state()
    with torch.no_grad():
        given = slots_of((SLOTS, *extras), [slots[key] for key in (SLOTS, *extras)])
        try:
            decoded = decoder(given, target_BCHW=None, generator=stream)
        except SlotlabError as error:
            raise SlotlabError(
                f"the {name} cannot decode slots alone ({error}); export the encoder alone"
            ) from None
        pictures_BCHW = model.to_image(decoded.prediction_BCHW)
    if not torch.equal(stream.get_state(), before):
        raise SlotlabError(f"the {name} draws noise, and cannot be exported; export the encoder alone")
    found = {RECONSTRUCTION: pictures_BCHW, MASKS: decoded.masks_BKHW}
    outputs = tuple(key for key, tensor in found.items() if tensor is not None)
    if not outputs:
        raise SlotlabError(f"the {name} makes neither pictures nor masks; export the encoder alone")
    return Graph("decoder", DecoderGraph(model, extras, outputs).eval(), dict(slots), outputs)
