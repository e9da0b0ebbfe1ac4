"""Parts that do not fit together are found before training, each with its path."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Decoded, EncoderContext, Grouped, Losses, ObjectiveContext, Slots
from slotlab.framework.model.build import Builder, build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.spec.identity import located_refs
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import Ref, SlotlabError

Specs = Callable[..., ExperimentSpec]
PLUGINS = "slotlab.plugins"


def found(spec: ExperimentSpec) -> list[str]:
    return [str(problem) for problem in check_parts(spec)]


def test_parts_that_fit(tiny: Specs) -> None:
    before = torch.get_rng_state()
    assert found(tiny()) == []
    assert torch.equal(torch.get_rng_state(), before)


def test_every_part_is_reported_at_its_setting(tiny: Specs) -> None:
    decoder = {"name": "spatial_broadcast", "broadcast_size": 4, "channels": [4, 4]}
    metrics = ["ari", "ari"]
    assert found(tiny(model={"decoder": decoder}, evaluation={"metrics": metrics})) == [
        (
            "model.decoder: spatial_broadcast: the layers make 4 x 2 x 2 = 16 pixels a side, but the target is 8x8; "
            "change broadcast_size, strides or channels so that the product is 8"
        ),
        "evaluation.metrics.1: the metric 'ari' is given twice; keep one",
    ]


@pytest.mark.parametrize(
    ("part", "block", "text"),
    [
        ("encoder", {"name": "cnn", "kernel_size": 4}, "model.encoder.kernel_size: cnn: must be odd, not 4"),
        (
            "encoder",
            {"name": "cnn", "channels": [4, 4], "strides": [1]},
            "model.encoder.strides: cnn: 1 strides for 2 layers; give one for each layer",
        ),
        (
            "encoder",
            {"name": "resnet18_style", "kernel_size": 2},
            "model.encoder.kernel_size: resnet18_style: must be odd, not 2",
        ),
        (
            "decoder",
            {"name": "spatial_broadcast", "readout_kernel_size": 2},
            "model.decoder.readout_kernel_size: spatial_broadcast: must be odd, not 2",
        ),
        (
            "decoder",
            {"name": "spatial_broadcast", "channels": [4, 4], "strides": [2, 2, 2]},
            "model.decoder.strides: spatial_broadcast: 3 strides for 2 layers; give one for each layer",
        ),
    ],
)
def test_settings_that_do_not_fit(tiny: Specs, part: str, block: dict[str, Any], text: str) -> None:
    spec = tiny(model={part: block})
    assert found(spec) == [text]
    with pytest.raises(SlotlabError) as error:
        build_model(spec)
    assert str(error.value) == text


def test_learned_slots_at_another_number(tiny: Specs) -> None:
    spec = tiny(model={"initializer": "learnable"}, evaluation={"slots": 5})
    assert found(spec) == [
        (
            "evaluation.slots: the initializer 'learnable' is made for 3 slots and cannot make 5; "
            "leave 'slots' out, or train with an initializer that takes any number, such as gaussian"
        )
    ]
    assert found(tiny(evaluation={"slots": 5})) == []
    assert found(tiny(model={"initializer": "learnable"}, evaluation={"slots": 3})) == []


def narrow(self: nn.Module, x: Tensor) -> Tensor:
    return x.new_zeros(2, 4, 3, 8)


def broken(*args: Any, **kwargs: Any) -> Any:
    raise KeyError("lost")


def no_masks(self: nn.Module, slots: Slots, **kwargs: Any) -> Decoded:
    return Decoded(slots.vectors_BKD.new_zeros(2, 3, 8, 8))


def small_picture(self: nn.Module, slots: Slots, **kwargs: Any) -> Decoded:
    return Decoded(slots.vectors_BKD.new_zeros(2, 3, 4, 4))


def few_slots(self: nn.Module, tokens: Tensor, slots: Slots, **kwargs: Any) -> Grouped:
    return Grouped(slots.select(torch.arange(2)), tokens.new_zeros(2, 3, 64))


def each_image(self: Any, decoded: Decoded, target: Tensor) -> Losses:
    return Losses(target.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize(
    ("where", "wrong", "text"),
    [
        (
            "encoders.cnn.CNNEncoder.forward",
            narrow,
            (
                "model.encoder: cnn: features, by the encoder's channels and grid, should have shape (2, 4, 8, 8), "
                "not (2, 4, 3, 8)"
            ),
        ),
        (
            "positions.linear_grid.LinearGrid.forward",
            narrow,
            "model.projection.position: linear_grid: tokens should have shape (2, 64, 8), not (2, 24, 8)",
        ),
        (
            "initializers.gaussian.GaussianInitializer.forward",
            broken,
            "model.initializer: gaussian: fails on images of 8x8 pixels: KeyError: 'lost'",
        ),
        (
            "groupings.slot_attention.SlotAttention.forward",
            few_slots,
            "model.grouping: slot_attention: slots should have shape (2, 3, 8), not (2, 2, 8)",
        ),
        (
            "decoders.spatial_broadcast.SpatialBroadcastDecoder.forward",
            small_picture,
            "model.decoder: spatial_broadcast: the prediction should have shape (2, 3, 8, 8), not (2, 3, 4, 4)",
        ),
        (
            "decoders.spatial_broadcast.SpatialBroadcastDecoder.forward",
            no_masks,
            "evaluation.mask_source: the decoder 'spatial_broadcast' has no masks; write 'mask_source: attention'",
        ),
        (
            "objectives.pixel_mse.PixelMSE.loss",
            each_image,
            "objective: pixel_mse: the loss should have shape (), not (2,)",
        ),
    ],
)
def test_parts_that_break_their_contract(
    tiny: Specs, monkeypatch: pytest.MonkeyPatch, where: str, wrong: Any, text: str
) -> None:
    monkeypatch.setattr(f"{PLUGINS}.{where}", wrong)
    assert found(tiny()) == [text]


@pytest.mark.parametrize(
    ("where", "attribute"),
    [
        ("model.encoder: cnn", "channels"),
        ("model.initializer: gaussian", "fixed_num_slots"),
        ("objective: pixel_mse", "target_shape"),
        ("evaluation.metrics.0: ari", "higher_is_better"),
    ],
)
def test_an_attribute_that_the_contract_asks_for(tiny: Specs, where: str, attribute: str) -> None:
    spec = tiny()
    ref = next(ref for _, ref in located_refs(spec) if ref.name == where.partition(": ")[2])
    component = replace(ref.registered.component, build=lambda config, context: nn.Identity())
    object.__setattr__(ref, "registered", replace(ref.registered, component=component))
    assert f"{where}: what it builds lacks the attribute '{attribute}'" in found(spec)


@pytest.mark.parametrize(("name", "bounds"), [("signed", (-1.0, 1.0)), ("unit", (0.0, 1.0))])
def test_encoder_and_objective_are_told_the_value_range(
    tiny: Specs, monkeypatch: pytest.MonkeyPatch, name: str, bounds: tuple[float, float]
) -> None:
    told: dict[str, Any] = {}
    build = Ref.build

    def note(self: Ref, context: Any) -> Any:
        told[self.registered.kind] = context
        return build(self, context)

    monkeypatch.setattr(Ref, "build", note)
    for data in (
        {"value_range": name},
        {"protocol": {"name": "whole", "image_size": 8, "value_range": name}},
    ):
        told.clear()
        assert Builder(tiny(data=data)).model() is not None
        assert (told["encoder"].value_range, told["objective"].value_range) == (bounds, bounds)


def test_what_contexts_say_of_the_value_range_without_a_spec() -> None:
    assert EncoderContext(image_size=(8, 8)).value_range == (-1.0, 1.0)
    context = ObjectiveContext(image_size=(8, 8), feature_channels=1, grid=(2, 2))
    assert context.value_range == (-1.0, 1.0)
