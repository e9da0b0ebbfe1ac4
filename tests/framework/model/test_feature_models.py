"""Models that reconstruct features, put together from a spec: they fit, learn, and are measured by their masks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from slotlab.framework.contracts import (
    Batch,
    DecoderContext,
    GroupingContext,
    InitializerContext,
    TargetShape,
)
from slotlab.framework.model.build import build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.loss_step import LossStep, Sealed
from slotlab.framework.model.masks import masks_at
from slotlab.framework.model.projection import Projection
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.schema import ExperimentSpec

Specs = Callable[..., ExperimentSpec]
DECODERS: dict[str, dict[str, Any]] = {
    "mlp": {"name": "patch_mlp", "hidden": [32, 32]},
    "dinosaur": {"name": "autoregressive", "layers": 2, "heads": 4},
    "spot": {"name": "autoregressive", "blocks": "slate", "heads": 4, "orders": "nine", "evaluate": "all"},
    "dias": {"name": "random_order", "layers": 2},
}


def spec_of(tiny: Specs, decoder: str, **changes: Any) -> ExperimentSpec:
    model = {"encoder": {"name": "timm", "model": "test_vit", "frozen": True}, "decoder": DECODERS[decoder]}
    return tiny(
        data={"protocol": {"name": "whole", "image_size": 48}},
        model={**model, "projection": {"position": "none"}},
        objective="feature_mse",
        **changes,
    )


def images() -> torch.Tensor:
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_parts_fit(decoder: str, tiny: Specs) -> None:
    assert check_parts(spec_of(tiny, decoder)) == []


@pytest.mark.parametrize("decoder", DECODERS)
def test_it_learns_and_leaves_its_frozen_encoder_as_it_is(decoder: str, tiny: Specs) -> None:
    model = build_model(spec_of(tiny, decoder)).train()
    encoder = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    batch = Batch(images_BCHW=images(), masks_BHW=None, ids=("a", "b"))
    optimizer, step, losses = torch.optim.Adam(learned, lr=3e-3), LossStep(model), []
    for _ in range(12):
        optimizer.zero_grad()
        loss = step(Sealed(batch), generator=torch.Generator().manual_seed(1))["total"]
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.95 * losses[0]
    assert all(parameter.grad is not None for parameter in learned)
    assert all(torch.equal(encoder[name], tensor) for name, tensor in model.encoder.state_dict().items())


@pytest.mark.parametrize("decoder", DECODERS)
def test_it_has_masks_on_the_features_grid_and_no_picture(decoder: str, tiny: Specs) -> None:
    model = build_model(spec_of(tiny, decoder)).eval()
    found = model.reconstruct(images(), generator=torch.Generator().manual_seed(1))
    assert found.images_BCHW is None
    assert found.decoded is not None
    assert found.decoded.prediction_BCHW.shape == (2, 64, 3, 3)
    masks = masks_at(found, "decoder", (48, 48))
    assert masks is not None
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(2, 48, 48))


def test_dinosaur_on_coco_trains_as_many_weights_as_its_authors() -> None:
    """ViT-B/16 at 224 pixels, 7 slots x 256, MLP decoder: 12.45 million."""
    registry, dim, features = load_registry(), 256, 768

    def build(kind: str, name: str, context: Any, **settings: Any) -> nn.Module:
        item = registry.find(kind, name)
        assert item is not None
        part: nn.Module = item.component.build(item.component.config.model_validate(settings), context)
        return part

    with torch.device("meta"):
        parts = [
            Projection(nn.Identity(), channels=features, hidden_dim=features, dim=dim, layer_norm_eps=1e-5),
            build("initializer", "gaussian", InitializerContext(num_slots=7, slot_dim=dim, token_dim=dim)),
            build(
                "grouping",
                "slot_attention",
                GroupingContext(slot_dim=dim, token_dim=dim, grid=(14, 14)),
                mlp_dim=1024,
            ),
            build(
                "decoder", "patch_mlp", DecoderContext(slot_dim=dim, target=TargetShape(features, (14, 14)))
            ),
        ]
    assert sum(parameter.numel() for part in parts for parameter in part.parameters()) == 12_452_865


def test_a_picture_does_not_depend_on_the_pass_that_is_told_the_target(tiny: Specs) -> None:
    """A decoder that draws its order: measured masks come from a pass of their own, with the same draws."""
    decoder = {
        "name": "autoregressive",
        "blocks": "slate",
        "layers": 1,
        "heads": 3,
        "orders": "nine",
        "evaluate": "random",
    }
    model = build_model(tiny(model={"decoder": decoder})).eval()
    images_BCHW = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def streams(seed: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed + i) for i in range(3)]

    assert model.is_told
    orders = set()
    for seed in range(0, 30, 3):
        made = model.reconstruct(images_BCHW, generator=streams(100), painting=streams(seed))
        painted = model.paint(made.found.slots, generator=streams(seed))
        assert torch.equal(made.decoded.prediction_BCHW, painted.prediction_BCHW)
        orders.add(painted.prediction_BCHW.sum().item())
    assert len(orders) > 1, "it draws"


def test_measured_masks_are_those_of_the_pass_that_is_told(tiny: Specs) -> None:
    """The picture is the model's own, and its masks are those that the papers measure."""
    decoder = {"name": "autoregressive", "blocks": "slate", "layers": 1, "heads": 3, "orders": "nine"}
    images_BCHW = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    masks = {}
    for way in ("target", "own"):
        model = build_model(tiny(model={"decoder": {**decoder, "evaluate_with": way}})).eval()
        stream = [torch.Generator().manual_seed(i) for i in range(3)]
        made = model.reconstruct(images_BCHW, generator=stream)
        slots = made.found.slots
        told = model.decode(slots, target_BCHW=images_BCHW)
        own = model.paint(slots)
        assert torch.equal(made.decoded.prediction_BCHW, own.prediction_BCHW)
        masks[way] = (made.decoded.masks_BKHW, told.masks_BKHW, own.masks_BKHW)
    assert not torch.equal(masks["target"][1], masks["target"][2]), "the two passes differ"
    assert torch.equal(masks["target"][0], masks["target"][1])
    assert torch.equal(masks["own"][0], masks["own"][2])
