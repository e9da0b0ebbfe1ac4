"""Laws that every component obeys, checked on everything that is installed.

A new component needs no test here; one whose settings have no defaults needs a line in `SETTINGS`.
"""

import json
import math
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    AuxiliaryContext,
    Codec,
    CodecContext,
    DatasetContext,
    Decoded,
    DecoderContext,
    DynamicsContext,
    EncoderContext,
    GroupingContext,
    HasOwnWeights,
    InitializerContext,
    LatentCodec,
    MeasuresClips,
    MetricContext,
    ObjectiveContext,
    OptimizerContext,
    Outcome,
    PooledMetric,
    PositionContext,
    PredictorContext,
    Quantizes,
    RelaxedCodec,
    Sampler,
    ScheduleContext,
    Slots,
    TargetShape,
    TokenCodec,
)
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.laws.inputs import given_for, told_to
from slotlab.framework.laws.losses import frames_of, passed
from slotlab.framework.laws.metric import OfPictures
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.registry import Component, ComponentConfig, ComponentError, Registered

REGISTRY = load_registry()
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("dataset", "clevrtex"): {"root": "nowhere"},
    ("dataset", "clevrtex_flat"): {"root": "nowhere"},
    ("dataset", "image_folder"): {"images": "nowhere"},
    ("dataset", "coco_panoptic"): {"splits": {"all": {"images": "a", "annotations": "b", "panoptic": "c"}}},
    ("dataset", "multi_object_hdf5"): {"path": "nowhere"},
    ("dataset", "movi"): {"root": "nowhere"},
    ("dataset", "frame_folders"): {"root": "nowhere"},
    ("dataset", "obj3d"): {"root": "nowhere"},
    ("dataset", "davis"): {"root": "nowhere"},
    ("dataset", "youtube_vis"): {"root": "nowhere"},
    ("dataset", "video_folder"): {"root": "nowhere"},
    ("dataset", "clevrer"): {"root": "nowhere"},
    ("dataset", "physion"): {"root": "nowhere"},
    ("dataset", "moving_scenes"): {"num_frames": 3, "num_train": 2, "num_val": 2, "min_objects": 2},
    ("dataset", "bench"): {"num_train": 3},
    ("dataset", "scenes"): {
        "num_train": 3,
        "num_val": 3,
        "textures": ["plain"],
        "ground_textures": ["plain"],
    },
    ("schedule", "half_life"): {"half_life": 5},
    ("model", "slot_autoencoder"): {
        "slots": 3,
        "encoder": {"name": "cnn", "channels": [4], "kernel_size": 3},
        "initializer": "gaussian",
        "grouping": "slot_attention",
        "decoder": {"name": "spatial_broadcast", "broadcast_size": 4, "channels": [4]},
    },
    ("model", "video_slots"): {
        "slots": 3,
        "encoder": {"name": "cnn", "channels": [4], "kernel_size": 3},
        "initializer": "gaussian",
        "grouping": "slot_attention",
        "predictor": "transformer",
        "decoder": {"name": "spatial_broadcast", "broadcast_size": 4, "channels": [4]},
    },
    ("model", "codec"): {"codec": {"name": "dvae", "codes": 16, "width": 8}},
    ("model", "slate"): {
        "codec": {"name": "dvae", "codes": 16, "width": 8},
        "slots": 3,
        "slot_dim": 8,
        "initializer": "gaussian",
        "grouping": "slot_attention",
        "decoder": {"name": "autoregressive", "blocks": "slate", "layers": 1, "heads": 2, "width": 8},
    },
    ("encoder", "cnn"): {"channels": [8, 8], "strides": [1, 2]},
    ("encoder", "resnet18_style"): {"stem": 4, "blocks": [4, 8]},
    ("encoder", "resnet_group_norm"): {"blocks": [1, 1], "width": 8, "groups": 4},
    ("encoder", "timm"): {"model": "test_resnet"},
    ("encoder", "unet"): {
        "stride": 2,
        "width": 8,
        "multipliers": [1, 2],
        "norm_groups": 4,
        "head_width": 4,
        "channels": 6,
    },
    ("set_metric", "frechet_torchscript"): {"weights": "nowhere"},
    ("set_metric", "frechet_timm"): {"model": "test_resnet", "weights": "nowhere"},
    ("grouping", "adaptive_slots"): {"grouping": "slot_attention"},
    ("predictor", "transformer_lstm"): {"dropout": 0.0},  # that of training is torch's own
    ("dynamics", "slotformer"): {"width": 8, "layers": 2, "heads": 2, "dropout": 0.0},
    ("decoder", "spatial_broadcast"): {"broadcast_size": 4, "channels": [8, 8]},
    ("decoder", "patch_mlp"): {"hidden": [16, 16]},
    ("decoder", "autoregressive"): {"layers": 2, "heads": 3, "orders": "nine"},
    ("decoder", "slot_mixer"): {"layers": 1, "hidden": [16]},
    ("decoder", "random_order"): {"layers": 2, "heads": 3},
    ("decoder", "latent_diffusion"): {
        "width": 8,
        "multipliers": [1, 2],
        "blocks": 1,
        "attention_at": [2],
        "head_width": 4,
        "norm_groups": 4,
        "sampling": {"steps": 4},
    },
    ("codec", "vqvae"): {
        "width": 8,
        "multipliers": [1, 2],
        "blocks": 1,
        "norm_groups": 4,
        "codes": 16,
        "code_spread": 1,
    },
    ("codec", "dvae"): {"codes": 16, "width": 8},
    ("codec", "autoencoder_kl"): {"weights": "nowhere"},
}
"""Settings of a small instance; a component without a line is built with its defaults."""
PACKAGES = {("codec", "autoencoder_kl"): "diffusers"}
"""Packages of extras, without which a component cannot be built."""
CONTEXTS: dict[str, Any] = {
    "dataset": DatasetContext(split="train", image_size=(32, 32)),
    "encoder": EncoderContext(image_size=(32, 48)),
    "position": PositionContext(grid=(3, 5), dim=8),
    "initializer": InitializerContext(num_slots=4, slot_dim=8, token_dim=6),
    "grouping": GroupingContext(slot_dim=8, token_dim=6, grid=(3, 5)),
    "predictor": PredictorContext(slot_dim=8, num_slots=4, token_dim=6),
    "dynamics": DynamicsContext(slot_dim=8, num_slots=4, history=3),
    "decoder": DecoderContext(slot_dim=8, target=TargetShape(3, (16, 16))),
    "objective": ObjectiveContext(image_size=(16, 16), feature_channels=5, grid=(4, 4)),
    "auxiliary": AuxiliaryContext(image_size=(16, 16), num_slots=4, slot_dim=8, token_dim=6, grid=(8, 8)),
    "codec": CodecContext(image_size=(16, 24)),
    "metric": MetricContext(value_range=(-1.0, 1.0)),
}
SHAPES = {"encoder": (2, 3, 32, 48), "position": (2, 8, 3, 5), "initializer": (2, 15, 6)}
SHAPES |= {"grouping": (2, 15, 6), "predictor": (2, 4, 8), "decoder": (2, 4, 8), "codec": (2, 3, 16, 24)}
SHAPES |= {"dynamics": (2, 3, 4, 8)}


def every(*kinds: str) -> pytest.MarkDecorator:
    found = [item for item in REGISTRY.all() if not kinds or item.kind in kinds]
    return pytest.mark.parametrize("item", found, ids=[f"{i.kind}-{i.component.name}" for i in found])


def config_of(item: Registered) -> ComponentConfig:
    settings = SETTINGS.get((item.kind, item.component.name), {})
    required = [name for name, field in item.component.config.model_fields.items() if field.is_required()]
    lacking = [name for name in required if name not in settings]
    if lacking:
        key = (item.kind, item.component.name)
        pytest.fail(f"add a line for {key} to SETTINGS in test_laws.py; it needs {', '.join(lacking)}")
    config: ComponentConfig = item.component.config.model_validate(settings, context={"registry": REGISTRY})
    return config


def make(item: Registered, seed: int = 0, context: Any = None) -> Any:
    if (item.kind, item.component.name) in PACKAGES:
        pytest.importorskip(PACKAGES[item.kind, item.component.name])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = item.component.build(config_of(item), context or CONTEXTS[item.kind])
    return OfPictures(built) if isinstance(built, MeasuresClips) else built


def noise(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def some_slots(batch: int = 2, num: int = 4, dim: int = 8) -> Slots:
    return Slots(noise(batch, num, dim), {"weight": noise(batch, num, seed=6)})


def apply(item: Registered, module: Any, seed: int = 1, x: Tensor | None = None) -> tuple[Tensor, ...]:
    """Run a module of any kind on fixed inputs; return all tensors of the result."""
    x = noise(*SHAPES[item.kind]) if x is None else x
    stream = None if x.device.type == "meta" else Generator().manual_seed(seed)
    if item.kind in ("encoder", "position"):
        return (module(x),)
    if item.kind == "codec":
        return (*coded(module, x), module.losses(x, generator=stream).total)
    if item.kind == "initializer":
        initial = module(x, None, generator=stream, **told_to(module, x, 4))
        return initial.vectors_BKD, *initial.extras.values()
    if item.kind == "predictor":
        first, state = module(Slots(x), module.start(Slots(x)))
        second, state = module(Slots(x), state)
        return first.vectors_BKD, second.vectors_BKD, *(state or {}).values()
    if item.kind == "dynamics":
        return (module(x, 3),)
    if item.kind == "grouping":
        slots = Slots(some_slots().vectors_BKD.to(x.device))
        grouped = module(x, slots, generator=stream)
        return grouped.slots.vectors_BKD, grouped.attention_BKN, *grouped.slots.extras.values()
    decoded = module(Slots(x), target_BCHW=noise(2, 3, 16, 16, seed=3).to(x.device), generator=stream)
    return tuple(
        t for t in (decoded.prediction_BCHW, decoded.masks_BKHW, decoded.parts_BKCHW) if t is not None
    )


def coded(codec: Any, x: Tensor) -> tuple[Tensor, ...]:
    """Return all that a codec makes of images, each with a first axis of images; tokens as floats."""
    found = [codec.reconstruct(x)]
    if isinstance(codec, LatentCodec):
        found += [codec.encode(x), codec.decode(codec.encode(x))]
    if isinstance(codec, LatentCodec) and isinstance(codec, Quantizes):
        found += [codec.nearest(codec.encode(x))]
    if isinstance(codec, TokenCodec):
        found += [codec.tokens(x).float(), codec.paint(codec.tokens(x))]
    if isinstance(codec, RelaxedCodec):
        found += [codec.logits(x), codec.paint_weights(codec.logits(x).softmax(1))]
    return tuple(found)


def same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@contextmanager
def global_randomness_untouched(but_torch: bool = False) -> Iterator[None]:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    yield
    assert but_torch or torch.equal(torch.get_rng_state(), before[0]), "torch's global generator was used"
    assert np.array_equal(np.random.get_state()[1], before[1]), "numpy's global generator was used"  # type: ignore[index]
    assert random.getstate() == before[2], "python's global generator was used"


# --- all kinds ---------------------------------------------------------------------------


@every()
def test_settings_are_closed_frozen_and_documented(item: Registered) -> None:
    config, kind = config_of(item), item.component.config
    with pytest.raises(ValidationError, match="unknown key"):
        kind.model_validate(
            {**config.model_dump(mode="json"), "no_such_key": 1}, context={"registry": REGISTRY}
        )
    for name, field in kind.model_fields.items():
        assert field.description, f"{name} has no docstring"
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, name, getattr(config, name))


@every()
def test_settings_survive_json(item: Registered) -> None:
    config = config_of(item)
    data = json.loads(json.dumps(config.model_dump(mode="json")))
    assert item.component.config.model_validate(data, context={"registry": REGISTRY}) == config


def test_required_settings_without_a_line_say_what_to_add() -> None:
    class Demanding(ComponentConfig):
        width: int
        """Needed."""

    component = Component(name="demanding", config=Demanding, build=lambda config, context: None, summary="x")
    with pytest.raises(pytest.fail.Exception) as failure:
        config_of(Registered("encoder", component, "here"))
    assert str(failure.value) == (
        "add a line for ('encoder', 'demanding') to SETTINGS in test_laws.py; it needs width"
    )


MODULES = ("encoder", "position", "initializer", "grouping", "predictor", "dynamics", "decoder", "codec")


@every(*MODULES)
def test_weights_depend_on_the_seed_alone(item: Registered) -> None:
    with global_randomness_untouched():
        first, again, other = make(item), make(item), make(item, seed=9)
    weights = first.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in again.state_dict().items())
    loaded = isinstance(first, HasOwnWeights) and first.own_weights  # from a file or a run, whatever the seed
    drawn = [name for name, parameter in first.named_parameters() if parameter.std() > 0 and not loaded]
    own = isinstance(first, HasOwnWeights) and first.own_weights
    drawn = [name for name, parameter in first.named_parameters() if parameter.std() > 0 and not own]
    assert all(not torch.equal(weights[name], other.state_dict()[name]) for name in drawn)


@every(*MODULES)
def test_weights_and_pickles_carry_everything(item: Registered) -> None:
    module, other = make(item).eval(), make(item, seed=9).eval()
    other.load_state_dict(module.state_dict())
    assert same(apply(item, module), apply(item, other))
    assert same(apply(item, module), apply(item, pickle.loads(pickle.dumps(module))))


@every(*MODULES)
def test_no_global_randomness(item: Registered) -> None:
    module = make(item)
    twin = pickle.loads(pickle.dumps(module))
    with global_randomness_untouched():
        first = apply(item, module)
    with torch.random.fork_rng():
        torch.manual_seed(77)
        assert same(first, apply(item, twin))


@every(*MODULES)
def test_building_draws_from_torch_only(item: Registered) -> None:
    make(item)  # skips without its package
    with torch.random.fork_rng(), global_randomness_untouched(but_torch=True):
        item.component.build(config_of(item), CONTEXTS[item.kind])


@every(*MODULES)
def test_gradients_reach_every_parameter(item: Registered) -> None:
    module = make(item).train()
    learned = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if learned:
        torch.stack([output.square().sum() for output in apply(item, module)]).sum().backward()
    assert [name for name, parameter in learned.items() if parameter.grad is None] == []


@every(*MODULES)
def test_images_of_a_batch_do_not_mix(item: Registered) -> None:
    if item.kind in ("grouping", "codec"):
        pytest.skip("has its own test")
    module, x = make(item).eval(), noise(*SHAPES[item.kind])
    changed = x.clone()
    changed[1] += 1
    for before, after in zip(apply(item, module, x=x), apply(item, module, x=changed), strict=True):
        torch.testing.assert_close(before[0], after[0])


@every(*MODULES)
def test_shapes_are_known_without_values(item: Registered) -> None:
    with torch.device("meta"):
        module = make(item)
        shapes = [t.shape for t in apply(item, module, x=torch.empty(SHAPES[item.kind]))]
    assert all(t.device.type == "meta" for t in module.state_dict().values())
    assert shapes == [t.shape for t in apply(item, make(item))]


@every(*MODULES)
def test_finite_in_bfloat16(item: Registered) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = apply(item, make(item))
    assert all(output.isfinite().all() for output in outputs)


# --- encoders, positions, initializers ---------------------------------------------------


@every("encoder")
def test_encoder_declares_its_features(item: Registered) -> None:
    encoder = make(item)
    (features,) = apply(item, encoder)
    assert tuple(features.shape) == (2, encoder.channels, *encoder.grid)
    assert encoder.training


@every("position")
def test_position_is_added(item: Registered) -> None:
    position, x = make(item), noise(*SHAPES["position"])
    code = position(torch.zeros_like(x))
    torch.testing.assert_close(position(x), x + code)
    assert torch.equal(code[0], code[1])
    places = code[0].flatten(1).T
    distinct = len(places.unique(dim=0))
    assert distinct == (1 if item.component.name == "none" else len(places))


@every("initializer")
def test_initial_slots(item: Registered) -> None:
    initializer, tokens = make(item), noise(*SHAPES["initializer"])

    def draw(seed: int, num: int | None = None) -> Tensor:
        told = told_to(initializer, tokens, num or 4)
        slots: Slots = initializer(tokens, num, generator=Generator().manual_seed(seed), **told)
        return slots.vectors_BKD

    assert draw(1).shape == (2, 4, 8)
    assert torch.equal(draw(1), draw(1))
    assert torch.equal(draw(1), draw(1, 4))
    if initializer.fixed_num_slots:
        with pytest.raises(ComponentError, match=r"^4 learned slots cannot become 6$"):
            draw(1, 6)
    else:
        assert draw(1, 6).shape == (2, 6, 8)


# --- groupings ---------------------------------------------------------------------------

ORDER = torch.tensor([2, 0, 3, 1])


@every("grouping")
def test_slots_compete_for_each_token(item: Registered) -> None:
    _, attention, *_ = apply(item, make(item))
    assert attention.shape == (2, 4, 15)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2, 15))
    assert (attention >= 0).all()


@every("grouping")
def test_grouping_knows_no_order_of_slots(item: Registered) -> None:
    grouping, tokens, slots = make(item), noise(2, 15, 6), some_slots()
    plain, moved = grouping(tokens, slots), grouping(tokens, slots.select(ORDER))
    torch.testing.assert_close(moved.slots.vectors_BKD, plain.slots.vectors_BKD[:, ORDER])
    torch.testing.assert_close(moved.slots.extras["weight"], plain.slots.extras["weight"][:, ORDER])
    torch.testing.assert_close(moved.attention_BKN, plain.attention_BKN[:, ORDER])


PLACED = {"invariant_slot_attention"}
"""Groupings to which the places of tokens matter; their own tests move tokens with their places."""


@every("grouping")
def test_grouping_knows_no_order_of_tokens(item: Registered) -> None:
    if item.component.name in PLACED:
        pytest.skip("knows where tokens are")
    grouping, tokens, slots = make(item), noise(2, 15, 6), some_slots()
    order = torch.randperm(15, generator=Generator().manual_seed(0))
    plain, moved = grouping(tokens, slots), grouping(tokens[:, order], slots)
    torch.testing.assert_close(moved.slots.vectors_BKD, plain.slots.vectors_BKD)
    torch.testing.assert_close(moved.attention_BKN, plain.attention_BKN[:, :, order])


@every("grouping")
def test_a_grouping_gives_a_trace_if_one_is_asked_for(item: Registered) -> None:
    tokens, slots = noise(2, 15, 6), some_slots()
    plain = make(item)(tokens, slots)
    traced = make(item, context=replace(CONTEXTS["grouping"], traced=True))(tokens, slots)
    assert plain.trace is None
    assert traced.trace is not None
    assert torch.equal(traced.attention_BKN, plain.attention_BKN)
    assert torch.equal(traced.trace.attention_BTKN[:, -1], plain.attention_BKN)
    torch.testing.assert_close(traced.trace.logits_BKN.softmax(dim=1), plain.attention_BKN)


@every("grouping")
def test_grouping_keeps_images_apart(item: Registered) -> None:
    grouping, tokens, slots = make(item).eval(), noise(2, 15, 6), some_slots()
    both = grouping(tokens, slots)
    alone = grouping(tokens[1:], Slots(slots.vectors_BKD[1:]))
    torch.testing.assert_close(both.slots.vectors_BKD[1:], alone.slots.vectors_BKD)


def test_zero_iterations_return_the_initial_slots() -> None:
    item = REGISTRY.find("grouping", "slot_attention")
    assert item is not None
    config = item.component.config.model_validate({"iterations": 0})
    slots = some_slots()
    grouped = item.component.build(config, CONTEXTS["grouping"])(noise(2, 15, 6), slots)
    assert torch.equal(grouped.slots.vectors_BKD, slots.vectors_BKD)
    torch.testing.assert_close(grouped.attention_BKN.sum(dim=1), torch.ones(2, 15))


# --- decoders, objectives ----------------------------------------------------------------


@every("decoder")
@pytest.mark.parametrize("method", ["forward", "sample"])
def test_decoder_shapes_and_order_of_slots(item: Registered, method: str) -> None:
    decoder, slots = make(item).eval(), some_slots()
    if method == "sample":
        if not isinstance(decoder, Sampler):
            pytest.skip("is called without the target instead")
        plain, moved = (decoder.sample(some, generator=one_stream()) for some in (slots, slots.select(ORDER)))
    else:
        target = noise(2, 3, 16, 16, seed=3) if isinstance(decoder, Sampler) else None
        plain, moved = (
            decoder(some, target_BCHW=target, generator=one_stream()) for some in (slots, slots.select(ORDER))
        )
    assert plain.prediction_BCHW.shape == (2, 3, 16, 16)
    torch.testing.assert_close(moved.prediction_BCHW, plain.prediction_BCHW)
    if plain.masks_BKHW is not None:
        torch.testing.assert_close(plain.masks_BKHW.sum(dim=1), torch.ones(2, *plain.masks_BKHW.shape[2:]))
        torch.testing.assert_close(moved.masks_BKHW, plain.masks_BKHW[:, ORDER])
    if plain.parts_BKCHW is not None:
        assert plain.parts_BKCHW.shape[:3] == (2, 4, 3)
        torch.testing.assert_close(moved.parts_BKCHW, plain.parts_BKCHW[:, ORDER])


@every("decoder")
def test_a_dropped_slot_has_no_mask_and_no_say(item: Registered) -> None:
    decoder, vectors, target = make(item).eval(), noise(2, 4, 8), noise(2, 3, 16, 16, seed=3)
    keep = torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 1]])
    other = torch.where(keep[..., None] == 1, vectors, noise(2, 4, 8, seed=8))
    plain, changed = (decoder(Slots(x, {"keep": keep}), target_BCHW=target) for x in (vectors, other))
    if plain.masks_BKHW is None:
        pytest.skip("has no masks")
    assert torch.equal(plain.masks_BKHW == 0, (keep == 0)[..., None, None].expand_as(plain.masks_BKHW))
    torch.testing.assert_close(plain.masks_BKHW.sum(dim=1), torch.ones(2, 16, 16), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(changed.prediction_BCHW, plain.prediction_BCHW, rtol=1e-3, atol=1e-3)
    every_slot = decoder(Slots(vectors, {"keep": torch.ones(2, 4)}), target_BCHW=target)
    torch.testing.assert_close(
        every_slot.prediction_BCHW,
        decoder(Slots(vectors), target_BCHW=target).prediction_BCHW,
        rtol=1e-3,
        atol=1e-3,
    )


@every("objective")
def test_objective_is_zero_only_for_its_target(item: Registered) -> None:
    objective = make(item)
    images, features = noise(2, 3, 16, 16).clamp(-1, 1), noise(2, 5, 4, 4)
    target = objective.target(images, features, **given_for(objective, images))
    shape = objective.target_shape
    assert tuple(target.shape) == (2, shape.channels, *shape.size)
    right, other = target, target + 0.5
    if shape.soft:
        right = target.log().clamp(min=-1e4)
    if shape.classes is not None:  # the logits of one class, and of the next one
        one_hot = 1000 * nn.functional.one_hot(target[:, 0], shape.classes).movedim(-1, 1).float()
        right, other = one_hot, one_hot.roll(1, dims=1)
    perfect, wrong = objective.loss(Decoded(right), target), objective.loss(Decoded(other), target)
    assert perfect.total.shape == wrong.total.shape == ()
    assert perfect.total.abs() <= (1e-6 if shape.soft else 0)
    assert 0 < wrong.total < torch.inf
    assert all(term.shape == () for term in (*perfect.terms.values(), *wrong.terms.values()))
    if shape.classes is None and not shape.soft:
        own = Decoded(target + 0.5, target_BCHW=target + 0.5)
        assert objective.loss(own, target).total == 0
    image = objective.to_image(target)
    assert image is None or image.shape == images.shape


# --- codecs ------------------------------------------------------------------------------


@every("codec")
def test_a_codec_keeps_its_contract(item: Registered) -> None:
    codec, images = make(item), noise(*SHAPES["codec"]).clamp(-1, 1)
    assert isinstance(codec, Codec)
    assert codec.reconstruct(images).shape == images.shape
    losses = codec.losses(images, generator=one_stream())
    assert losses.total.isfinite()
    assert losses.terms
    assert all(term.shape == () and term.dtype == images.dtype for term in losses.terms.values())
    if isinstance(codec, LatentCodec):
        assert codec.encode(images).shape == (2, codec.latent_shape.channels, *codec.latent_shape.size)
        assert codec.encode(images).dtype == images.dtype
        assert codec.decode(codec.encode(images)).shape == images.shape
    if isinstance(codec, TokenCodec):
        tokens = codec.tokens(images)
        assert tokens.shape == (2, *codec.token_grid)
        assert tokens.dtype == torch.int64
        assert 0 <= tokens.min() <= tokens.max() < codec.codes
        assert codec.paint(tokens).shape == images.shape
    if isinstance(codec, RelaxedCodec):
        assert codec.logits(images).shape == (2, codec.codes, *codec.token_grid)
        again = codec.losses_of(images, codec.logits(images), generator=one_stream())
        assert torch.equal(again.total, losses.total)
        torch.testing.assert_close(codec.logits(images).exp().sum(1), torch.ones(2, *codec.token_grid))


@every("codec")
def test_codes_and_latents_agree(item: Registered) -> None:
    codec, images = make(item), noise(*SHAPES["codec"]).clamp(-1, 1)
    made = codec.reconstruct(images)
    if isinstance(codec, LatentCodec):
        latents = codec.encode(images)
        torch.testing.assert_close(codec.decode(latents), made)
    if isinstance(codec, LatentCodec) and isinstance(codec, Quantizes):
        nearest = codec.nearest(latents)
        assert torch.equal(codec.nearest(nearest), nearest)
        torch.testing.assert_close(codec.decode(nearest), made)
    if isinstance(codec, TokenCodec):
        torch.testing.assert_close(codec.paint(codec.tokens(images)), made)
    if isinstance(codec, RelaxedCodec):
        tokens = codec.tokens(images)
        assert torch.equal(tokens, codec.logits(images).argmax(1))
        weights = nn.functional.one_hot(tokens, codec.codes).movedim(-1, 1).float()
        torch.testing.assert_close(codec.paint_weights(weights), made, rtol=1e-4, atol=1e-5)


@every("codec")
@pytest.mark.parametrize("training", [True, False])
def test_what_a_codec_makes_of_an_image_is_of_that_image(item: Registered, training: bool) -> None:
    codec, images = make(item).train(training), noise(*SHAPES["codec"]).clamp(-1, 1)
    alone = [coded(codec, image[None]) for image in images]
    for both, *each in zip(coded(codec, images), *alone, strict=True):
        torch.testing.assert_close(both, torch.cat(each), rtol=1e-4, atol=1e-5)


@every("codec")
def test_a_codec_draws_for_its_losses_alone(item: Registered) -> None:
    codec, images = make(item).train(), noise(*SHAPES["codec"]).clamp(-1, 1)
    with global_randomness_untouched():
        assert same(coded(codec, images), coded(codec, images))
        first, again = (codec.losses(images, generator=one_stream()).total for _ in range(2))
    assert torch.equal(first, again)


@every("codec")
def test_a_codec_knows_the_value_range(item: Registered) -> None:
    images = noise(*SHAPES["codec"]).clamp(-1, 1)
    if make(item).own_weights and item.component.name == "trained":
        pytest.skip("knows that of its run; test_latent_families.py trains it")
    signed, unit = make(item), make(item, context=replace(CONTEXTS["codec"], value_range=(0.0, 1.0)))
    made = unit.reconstruct((images + 1) / 2)
    torch.testing.assert_close(made, (signed.reconstruct(images) + 1) / 2, rtol=1e-4, atol=1e-4)


# --- auxiliary losses --------------------------------------------------------------------

TRAINED = """
format: 1
name: input
data:
  dataset: {name: scenes, num_train: 2, num_val: 2, textures: [plain], ground_textures: [plain]}
  protocol: {name: whole, image_size: SIZE}
model:
  slots: 4
  slot_dim: 8
  encoder: {name: cnn, channels: [4], strides: [4]}
  initializer: gaussian
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: patch_mlp, hidden: [8]}
objective: feature_mse
training: {batch_size: 2, phases: [{steps: 1, lr: 0.01}]}
evaluation: {metrics: [ari], baselines: []}
"""


CODEC = """
format: 1
name: codec
data:
  dataset: {name: scenes, num_train: 2, num_val: 2, textures: [plain], ground_textures: [plain]}
  protocol: {name: whole, image_size: SIZE}
model:
  name: codec
  codec: {name: vqvae, width: 8, multipliers: [1, 2], blocks: 1, norm_groups: 4, codes: 16, code_spread: 1}
training: {batch_size: 2, phases: [{steps: 1, lr: 0.01}]}
evaluation: {metrics: [mse]}
"""


@pytest.fixture(autouse=True, scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give runs to components that have a run as an input."""

    def run_of(spec: str, size: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("input")
        (folder / "spec.yaml").write_text(spec.replace("SIZE", size))
        loaded = prepare(folder / "spec.yaml").loaded
        run = run_training(loaded, folder / "run", device=torch.device("cpu"), report=lambda progress: None)
        return {"run": str(run.path)}

    codec = {"codec": {"name": "trained", "source": run_of(CODEC, "16")}}
    found: dict[tuple[str, str], dict[str, Any]] = {
        ("auxiliary", "attention_distill"): {"teacher": run_of(TRAINED, "16")},
        ("encoder", "trained"): {"source": run_of(TRAINED, "[32, 48]")},
        ("start", "from_run"): {"source": run_of(TRAINED, "16")},
        ("model", "slot_dynamics"): {
            "source": run_of(TRAINED, "16"),
            "slots": 4,
            "dynamics": "slotformer",
        },
        ("codec", "trained"): {"source": run_of(CODEC, "[16, 24]")},
        ("objective", "latent_noise"): codec,
        ("objective", "token_cross_entropy"): codec,
    }
    SETTINGS.update(found)
    yield
    for key in found:
        del SETTINGS[key]


def one_stream() -> Generator:
    return Generator().manual_seed(0)


@every("auxiliary")
def test_an_auxiliary_loss_is_a_number_to_learn_from(item: Registered) -> None:
    loss = make(item)
    output, learned = passed(frames=frames_of(loss), generator=one_stream(), traced=loss.traced)
    losses = loss(output)
    assert losses.total.shape == ()
    assert losses.total.isfinite()
    assert losses.total > 0
    assert all(term.shape == () for term in losses.terms.values())
    losses.total.backward()
    reached = [tensor.grad for tensor in learned if tensor.grad is not None]
    assert any(gradient.abs().sum() > 0 for gradient in reached)
    assert all(gradient.isfinite().all() for gradient in reached)


@every("auxiliary")
def test_an_auxiliary_loss_draws_from_the_pass_alone(item: Registered) -> None:
    loss = make(item)
    with global_randomness_untouched():
        first, again = (
            loss(passed(frames=frames_of(loss), generator=one_stream())[0]).total for _ in range(2)
        )
    assert torch.equal(first, again)


@every("auxiliary")
def test_an_auxiliary_loss_knows_no_order_of_slots(item: Registered) -> None:
    loss = make(item)
    plain, moved = (
        loss(passed(order=order, frames=frames_of(loss), generator=one_stream())[0]).total
        for order in (None, ORDER)
    )
    torch.testing.assert_close(moved, plain)


@every("auxiliary")
def test_an_auxiliary_loss_is_the_mean_of_those_of_the_images(item: Registered) -> None:
    loss = make(item)
    if isinstance(loss, nn.Module):
        loss.eval()

    def of(rows: slice) -> Tensor:
        streams = [Generator().manual_seed(i) for i in range(3)][rows]
        found: Tensor = loss(passed(rows, frames=frames_of(loss), generator=streams)[0]).total
        return found

    alone = torch.stack([of(slice(i, i + 1)) for i in range(3)])
    assert len(alone.unique()) > 1
    torch.testing.assert_close(of(slice(0, 3)), alone.mean())


# --- metrics -----------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="module")
def perceptual_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give `lpips` weights of no meaning."""
    folder, widths = tmp_path_factory.mktemp("lpips"), (3, 64, 192, 384, 256, 256)
    kernels = {0: 11, 3: 5, 6: 3, 8: 3, 10: 3}
    backbone = {}
    for (layer, size), inputs, outputs in zip(kernels.items(), widths, widths[1:], strict=False):
        backbone[f"features.{layer}.weight"] = noise(outputs, inputs, size, size) / (inputs * size**2) ** 0.5
        backbone[f"features.{layer}.bias"] = noise(outputs)
    linear = {f"lin{i}.model.1.weight": noise(1, w, 1, 1).abs() for i, w in enumerate(widths[1:])}
    torch.save(backbone, folder / "backbone.pth")
    torch.save(linear, folder / "linear.pth")
    SETTINGS["metric", "lpips"] = {
        "backbone": str(folder / "backbone.pth"),
        "linear": str(folder / "linear.pth"),
    }
    yield
    del SETTINGS["metric", "lpips"]


@pytest.fixture(autouse=True, scope="module")
def variational_autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give `autoencoder_kl` weights of no meaning, where its package is installed."""
    if find_spec("diffusers") is None:
        yield
        return
    import diffusers

    key, folder = ("codec", "autoencoder_kl"), tmp_path_factory.mktemp("vae")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        diffusers.AutoencoderKL(
            block_out_channels=(4, 8),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ).save_pretrained(folder)
    former, SETTINGS[key] = SETTINGS[key], {"weights": str(folder)}
    yield
    SETTINGS[key] = former


DIAGNOSES = {"slot_usage"}
"""Metrics of which neither more nor less is better."""


KINDS = [{"index": label, "category": f"kind {label}"} for label in range(1, 10)]
"""What the data knows of objects: each is of a category of its own."""


def outcome(batch: int = 4) -> Outcome:
    """Images whose labels go up to different numbers, with gaps; the first has no foreground."""
    stream = Generator().manual_seed(0)
    true = torch.randint(0, 4, (batch, 33, 35), generator=stream)
    true[0] = 0
    true[3][true[3] == 3] = 9
    images, masks = noise(batch, 3, 33, 35).clamp(-1, 1), noise(batch, 5, 33, 35, seed=7).softmax(dim=1)
    masks[2, 3:] = 0
    masks[2] /= masks[2].sum(dim=0)
    return Outcome(
        images_BCHW=images,
        true_BHW=true,
        predicted_BHW=masks.argmax(dim=1),
        reconstructions_BCHW=images + 3 * noise(batch, 3, 33, 35, seed=8),
        masks_BKHW=masks,
        attributes=({"objects": KINDS},) * batch,
    )


def one_of(every: Outcome, index: int) -> Outcome:
    """Return one image of a batch, as an outcome of its own."""
    tensors = ((field.name, getattr(every, field.name)) for field in fields(every))
    part = slice(index, index + 1)
    return Outcome(**{name: t[part] if isinstance(t, Tensor | tuple) else t for name, t in tensors})


def only_needed(metric: Any, found: Outcome) -> Outcome:
    """Return the outcome without what the metric does not ask for."""
    others = {field.name for field in fields(found)} - metric.needs - {"images_BCHW", "attributes", "frames"}
    return replace(found, **dict.fromkeys(others))


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(-9), b.nan_to_num(-9))


@every("metric")
def test_metric_is_one_number_an_image(item: Registered) -> None:
    metric, every_image = make(item), outcome()
    values = metric(every_image)
    assert values.shape == (4,)
    assert values.dtype == torch.float64
    low, high = metric.bounds
    defined = values[~values.isnan()]
    assert len(defined) >= 3
    assert ((defined >= low) & (defined <= high)).all()


@every("metric")
@pytest.mark.parametrize("alone", [False, True], ids=["whole", "needed"])
def test_no_bit_of_a_metric_depends_on_the_batch(item: Registered, alone: bool) -> None:
    metric, found = make(item), outcome()
    found = only_needed(metric, found) if alone else found
    values = metric(found)
    for i in range(4):
        assert same_bits(metric(one_of(found, i)), values[i : i + 1])
    turned = replace(
        found, **{f.name: t.flip(0) for f in fields(found) if isinstance(t := getattr(found, f.name), Tensor)}
    )
    assert same_bits(metric(turned), values.flip(0))


@every("metric")
def test_a_metric_reads_only_what_it_needs(item: Registered) -> None:
    metric, found = make(item), outcome()
    values = metric(only_needed(metric, found))
    assert same_bits(
        values, metric(replace(found, masks_BKHW=None) if "masks_BKHW" not in metric.needs else found)
    )


def dropped() -> tuple[Outcome, Outcome]:
    """Return images of which the second and fourth slot were dropped, and the same without those slots."""
    kept, found = [0, 2, 4], outcome()
    assert found.masks_BKHW is not None
    few = found.masks_BKHW[:, kept].double()
    few = few / few.sum(dim=1, keepdim=True)
    masks = few.new_zeros(found.masks_BKHW.shape)
    masks[:, kept] = few
    keep = torch.tensor([[1.0, 0, 1, 0, 1]]).expand(4, 5)
    return (
        replace(found, masks_BKHW=masks, predicted_BHW=masks.argmax(dim=1), keep_BK=keep),
        replace(found, masks_BKHW=few, predicted_BHW=few.argmax(dim=1)),
    )


@every("metric")
def test_a_dropped_slot_is_as_if_it_had_never_been(item: Registered) -> None:
    metric, (with_them, without) = make(item), dropped()
    torch.testing.assert_close(metric(with_them), metric(without), rtol=1e-9, atol=1e-9, equal_nan=True)


@every("metric")
def test_truth_is_the_best_bound(item: Registered) -> None:
    if item.component.name in DIAGNOSES:
        pytest.skip("a diagnosis: no value is the best")
    if item.component.name == "slotformer_ar":
        pytest.skip(
            "objects with one box, as in noise, are found once: tests/plugins/test_rollout_metrics.py"
        )
    metric, found = make(item), outcome()
    assert found.true_BHW is not None
    masks = nn.functional.one_hot(found.true_BHW).permute(0, 3, 1, 2).double()
    values = metric(
        replace(found, predicted_BHW=found.true_BHW, reconstructions_BCHW=found.images_BCHW, masks_BKHW=masks)
    )
    best = metric.bounds[1 if metric.higher_is_better else 0]
    assert torch.equal(values[1:], torch.full_like(values[1:], best))


@every("metric")
def test_names_of_segments_do_not_matter(item: Registered) -> None:
    metric, found = make(item), outcome()
    assert found.predicted_BHW is not None
    assert found.masks_BKHW is not None
    names = torch.tensor([3, 0, 4, 1, 2])
    renamed = replace(
        found, predicted_BHW=names[found.predicted_BHW], masks_BKHW=found.masks_BKHW[:, names.argsort()]
    )
    torch.testing.assert_close(metric(renamed), metric(found), equal_nan=True)


def degenerate() -> Outcome:
    """Return every pair of: all background, all one object, one pixel of an object, a pixel a segment."""
    none, one = torch.zeros(33, 35, dtype=torch.int64), torch.full((33, 35), 2)
    dot, many = none.clone(), torch.arange(33 * 35).reshape(33, 35) % 7
    dot[5, 6] = 4
    true, predicted = (
        torch.stack(side) for side in zip(*product((none, one, dot, many), repeat=2), strict=True)
    )
    masks = nn.functional.one_hot(predicted, 8).permute(0, 3, 1, 2).float()
    images = noise(16, 3, 33, 35)
    images[:8] = 0
    return Outcome(
        images_BCHW=images,
        true_BHW=true,
        predicted_BHW=predicted,
        reconstructions_BCHW=torch.zeros_like(images),
        masks_BKHW=masks,
        attributes=({"objects": KINDS},) * 16,
    )


@every("metric")
def test_bounds_hold_for_degenerate_masks_and_no_infinity_comes_of_them(item: Registered) -> None:
    metric, found = make(item), degenerate()
    values = metric(found)
    low, high = metric.bounds
    defined = values[~values.isnan()]
    assert len(defined) >= 6
    assert ((defined >= low) & (defined <= high)).all()
    if "predicted_BHW" in metric.needs:
        assert defined.isfinite().all()


@every("metric")
def test_masks_of_any_integer_type_and_images_of_any_memory_format(item: Registered) -> None:
    metric, found = make(item), outcome()
    assert found.true_BHW is not None
    assert found.predicted_BHW is not None
    other = replace(
        found,
        images_BCHW=found.images_BCHW.contiguous(memory_format=torch.channels_last),
        true_BHW=found.true_BHW.to(torch.uint8),
        predicted_BHW=found.predicted_BHW.to(torch.int32),
    )
    assert same_bits(metric(other), metric(found))


@every("metric")
def test_weights_of_a_pooled_metric_are_zero_just_where_it_is_undefined(item: Registered) -> None:
    metric, found = make(item), outcome()
    if not isinstance(metric, PooledMetric):
        assert not hasattr(metric, "weights")
        return
    weights = metric.weights(found)
    assert weights.dtype == torch.float64
    assert weights.tolist() == [0, 3, 3, 3]
    assert torch.equal(weights == 0, metric(found).isnan())


# --- optimizers, schedules, datasets -----------------------------------------------------


@every("optimizer")
def test_optimizer_goes_down_a_quadratic(item: Registered) -> None:
    point = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = make(item, context=OptimizerContext(params=[point], lr=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1]
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = point.square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9)])
def test_decays_are_below_one(name: str, betas: tuple[float, float]) -> None:
    item = REGISTRY.find("optimizer", name)
    assert item is not None
    with pytest.raises(ValidationError, match=r"should be (less than 1|greater than or equal to 0)"):
        item.component.config.model_validate({"betas": betas})


def rates(name: str, steps: int, total_steps: int, **settings: Any) -> list[float]:
    item = REGISTRY.find("schedule", name)
    assert item is not None
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    config = item.component.config.model_validate(settings)
    context = ScheduleContext(optimizer=optimizer, total_steps=total_steps)
    return drive(optimizer, item.component.build(config, context), steps)


def drive(optimizer: torch.optim.Optimizer, schedule: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("t_max", "eta_min"), [(None, 0.0), (7, 0.0), (4, 0.1)])
def test_cosine_is_torchs_own(t_max: int | None, eta_min: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, t_max or 10, eta_min)
    assert rates("cosine", 14, 10, t_max=t_max, eta_min=eta_min) == drive(optimizer, torchs, 14)


@pytest.mark.parametrize(("t_max", "warmup"), [(None, 4), (None, 9), (5, 3), (12, 1)])
def test_cosine_begins_where_its_warm_up_ends_and_is_through_with_the_phase(
    t_max: int | None, warmup: int
) -> None:
    found = rates("cosine", 11, 10, t_max=t_max, warmup=warmup, eta_min=0.1)
    rise = [0.4 * (step + 1) / (warmup + 1) for step in range(warmup)]
    assert found == pytest.approx(
        rise + rates("cosine", 11 - warmup, 10, t_max=t_max or 10 - warmup, eta_min=0.1)
    )
    assert t_max or found[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("warmup", [0, 1, 4, 30])
def test_half_life_is_the_papers_formula(warmup: int) -> None:
    """`lr * min(step / warmup, 1) * 0.5 ** (step / half_life)`: it decays during the warm-up, too."""
    expected = [0.4 * (min(step / warmup, 1) if warmup else 1) * 0.5 ** (step / 5) for step in range(12)]
    assert rates("half_life", 12, 10, half_life=5, warmup=warmup) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0, 1, 4, 30])
def test_half_life_may_begin_to_decay_after_its_warm_up(warmup: int) -> None:
    """As DINOSAUR: `step / warmup` before, then `0.5 ** ((step - warmup) / half_life)`, 1 where they meet."""
    expected = [
        0.4 * (step / warmup if step < warmup else 0.5 ** ((step - warmup) / 5)) for step in range(12)
    ]
    found = rates("half_life", 12, 10, half_life=5, warmup=warmup, decay="after_warmup")
    assert found == pytest.approx(expected)
    assert warmup > 11 or found[warmup] == 0.4
    assert warmup or found == rates("half_life", 12, 10, half_life=5), "without a warm-up both are one"


def test_cosine_goes_from_its_warm_up_to_a_floor() -> None:
    """As FT-DINOSAUR, of which only the first steps of the warm-up are counted from 1 here."""
    found = rates("cosine", 21, 20, warmup=5, eta_min=0.01)
    falls = [0.01 + 0.39 * (1 + math.cos(math.pi * step / 15)) / 2 for step in range(16)]
    assert found == pytest.approx([0.4 * (step + 1) / 6 for step in range(5)] + falls)


def test_constant_rises_in_equal_steps_and_stays() -> None:
    assert rates("constant", 5, 5) == [0.4] * 5
    assert rates("constant", 6, 6, warmup=3) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


@every("schedule")
def test_schedules_start_within_the_rate(item: Registered) -> None:
    found = rates(item.component.name, 12, 10, **SETTINGS.get(("schedule", item.component.name), {}))
    assert all(0 <= rate <= 0.4 for rate in found)
    assert max(found) > 0


@every("dataset")
def test_samples_are_always_the_same(item: Registered) -> None:
    if not getattr(item.component.config, "rendered", False):
        pytest.skip(f"needs files; test_{item.component.name}.py makes them")
    with global_randomness_untouched():
        first, again = make(item), make(item)
        pairs = [(first[i], again[i]) for i in reversed(range(len(first)))]
    for a, b in pairs:
        assert a.id == b.id
        assert torch.equal(a.image_CHW, b.image_CHW)
        assert a.image_CHW.dtype == torch.uint8
        assert a.image_CHW.shape == (3, 32, 32)
        assert a.mask_HW is not None
        assert torch.equal(a.mask_HW, b.mask_HW)
    with pytest.raises(IndexError):
        first[len(first)]
