"""The latent diffusion decoder: what it learns, how it paints, what it draws and what it refuses."""

import pickle
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import DecoderContext, Sampler, Slots, TargetShape
from slotlab.framework.model.diffusion.noise_schedule import NoiseSchedule
from slotlab.framework.model.diffusion.unet_blocks import Given, Transformer
from slotlab.plugins.decoders.latent_diffusion import LatentDiffusion, LatentDiffusionConfig
from slotlab.registry import ComponentError

CONTEXT = DecoderContext(slot_dim=5, target=TargetShape(3, (4, 8)))
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-9}
SMALL: dict[str, Any] = {
    "width": 8,
    "multipliers": (1, 2),
    "blocks": 1,
    "attention_at": (2,),
    "head_width": 4,
    "norm_groups": 4,
}
SOLVERS: list[dict[str, Any]] = [
    {"solver": "dpm_solver"},
    {"solver": "dpm_multistep", "steps": 5},
    {"solver": "ddim", "steps": 6},
    {"solver": "ddim", "steps": 6, "eta": 0.5},
    {"solver": "ddpm", "steps": 5},
]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def stream(seed: int = 1) -> Generator:
    return Generator().manual_seed(seed)


def streams(*seeds: int) -> list[Generator]:
    return [Generator().manual_seed(seed) for seed in seeds]


def build(context: DecoderContext = CONTEXT, **settings: Any) -> LatentDiffusion:
    """Return a decoder none of whose weights is at a special value, such as 0."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LatentDiffusionConfig.model_validate({**SMALL, **settings})
        decoder = LatentDiffusion(config, context).double()
        with torch.no_grad():
            for parameter in decoder.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    return decoder


TARGET, SLOTS = noise(3, 3, 4, 8, seed=1), Slots(noise(3, 4, 5, seed=2))


def image(i: int) -> Slots:
    return Slots(SLOTS.vectors_BKD[i : i + 1])


class Codes:
    """The nearest latents are whole halves; counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, latents: Tensor) -> Tensor:
        self.calls += 1
        return (2 * latents).round() / 2


def with_codes() -> tuple[Codes, DecoderContext]:
    codes = Codes()
    return codes, DecoderContext(slot_dim=5, target=CONTEXT.target, nearest=codes)


# --- training ----------------------------------------------------------------------------


@pytest.mark.parametrize("predicts", ["noise", "sample", "velocity"])
def test_forward_predicts_what_is_in_the_target_at_a_drawn_step(predicts: str) -> None:
    decoder = build(predicts=predicts).eval()
    found = decoder(SLOTS, target_BCHW=TARGET, generator=stream())
    again = stream()
    step = torch.randint(1000, (3,), generator=again)
    added = torch.randn(TARGET.shape, generator=again, dtype=torch.float64)
    schedule = NoiseSchedule("scaled_linear", start=0.0015, end=0.0195, steps=1000)
    a = torch.tensor([schedule.alphas_cumprod(int(t)) for t in step], dtype=torch.float64)[
        :, None, None, None
    ]
    noisy = a.sqrt() * TARGET + (1 - a).sqrt() * added
    expected = decoder.unet(noisy, step, SLOTS.vectors_BKD)
    torch.testing.assert_close(found.prediction_BCHW, expected, **EXACT)
    wanted = {"noise": added, "sample": TARGET, "velocity": a.sqrt() * added - (1 - a).sqrt() * TARGET}
    torch.testing.assert_close(found.target_BCHW, wanted[predicts], **EXACT)
    assert found.masks_BKHW is None
    assert found.parts_BKCHW is None


def test_all_steps_are_drawn_and_the_steps_are_those_of_the_settings() -> None:
    decoder = build(timesteps=3, sampling={"steps": 2})
    seen: list[int] = []
    decoder.unet.forward = lambda x, step, *rest: seen.extend(step.tolist()) or x  # type: ignore[func-returns-value]
    generator = stream()
    for _ in range(20):
        decoder(SLOTS, target_BCHW=TARGET, generator=generator)
    assert set(seen) == {0, 1, 2}


def test_an_untrained_decoder_predicts_zero() -> None:
    decoder = LatentDiffusion(LatentDiffusionConfig.model_validate(SMALL), CONTEXT).double()
    assert not decoder(SLOTS, target_BCHW=TARGET, generator=stream()).prediction_BCHW.any()


def test_without_zero_init_nothing_starts_as_zero() -> None:
    config = LatentDiffusionConfig.model_validate({**SMALL, "zero_init": False})
    decoder = LatentDiffusion(config, CONTEXT).double()
    assert decoder(SLOTS, target_BCHW=TARGET, generator=stream()).prediction_BCHW.all()
    assert all(part.weight.any() for part in decoder.modules() if isinstance(part, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize("positions", ["none", "cartesian"])
def test_attention_knows_where_positions_are_if_it_is_told(positions: str) -> None:
    parts = build(positions=positions).modules()
    transformer = next(part for part in parts if isinstance(part, Transformer))
    given = Given(noise(1, 32), SLOTS.vectors_BKD[:1])
    features, order = noise(1, 16, 4, 8), torch.randperm(32, generator=stream())
    shuffled = features.flatten(2)[..., order].view_as(features)
    made = transformer(features, given).flatten(2)[..., order].view_as(features)
    assert torch.allclose(transformer(shuffled, given), made, **EXACT) == (positions == "none")


def test_gradients_reach_slots_and_weights_but_not_the_target() -> None:
    decoder = build().train()
    vectors, target = SLOTS.vectors_BKD.clone().requires_grad_(), TARGET.clone().requires_grad_()
    found = decoder(Slots(vectors), target_BCHW=target, generator=stream())
    assert found.target_BCHW is not None
    assert not found.target_BCHW.requires_grad
    (found.prediction_BCHW - found.target_BCHW).square().mean().backward()
    assert vectors.grad is not None
    assert (vectors.grad.abs().amax(dim=2) > 0).all()
    assert target.grad is None
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_it_learns_which_latents_belong_to_which_slots() -> None:
    settings = {**SMALL, "dropout": 0.0, "predicts": "sample"}  # noise takes a small U-Net far longer
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = LatentDiffusion(LatentDiffusionConfig.model_validate(settings), CONTEXT)
    slots = Slots(noise(2, 4, 5, seed=2).float().repeat(8, 1, 1))
    target = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 3, 4, 8).repeat(8, 1, 1, 1)
    optimizer, generator = torch.optim.Adam(decoder.parameters(), lr=3e-3), stream()
    for _ in range(80):
        optimizer.zero_grad()
        found = decoder(slots, target_BCHW=target, generator=generator)
        assert found.target_BCHW is not None
        (found.prediction_BCHW - found.target_BCHW).square().mean().backward()
        optimizer.step()
    made = decoder.sample(slots, generator=generator).prediction_BCHW
    assert float((made - target).abs().mean()) < 0.2


def test_dropout_is_drawn_from_the_stream_in_training_alone() -> None:
    decoder = build(dropout=0.5)
    first, again, other = (decoder(SLOTS, target_BCHW=TARGET, generator=stream(1)) for _ in range(3))
    assert torch.equal(first.prediction_BCHW, again.prediction_BCHW)
    still = decoder.eval()(SLOTS, target_BCHW=TARGET, generator=stream(1))
    assert torch.equal(still.target_BCHW, other.target_BCHW)
    assert (still.prediction_BCHW - other.prediction_BCHW).abs().max() > 1e-3
    without = build(dropout=0.0)(SLOTS, target_BCHW=TARGET, generator=stream(1))
    torch.testing.assert_close(without.prediction_BCHW, still.prediction_BCHW, **EXACT)


@pytest.mark.parametrize("training", [True, False])
def test_a_training_step_of_an_image_with_its_own_stream_does_not_depend_on_its_batch(training: bool) -> None:
    decoder = build(dropout=0.3).train(training)
    together = decoder(SLOTS, target_BCHW=TARGET, generator=streams(5, 6, 7))
    for i in range(3):
        for source in (streams(5 + i), stream(5 + i)):
            alone = decoder(image(i), target_BCHW=TARGET[i : i + 1], generator=source)
            torch.testing.assert_close(together.prediction_BCHW[i : i + 1], alone.prediction_BCHW, **EXACT)
            torch.testing.assert_close(together.target_BCHW[i : i + 1], alone.target_BCHW, **EXACT)


def test_dropped_slots_have_no_effect_and_their_order_has_none() -> None:
    decoder, keep = build().eval(), torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]])
    other = torch.where(keep[..., None] == 1, SLOTS.vectors_BKD, noise(3, 4, 5, seed=9))
    order = torch.tensor([2, 0, 3, 1])
    given = Slots(SLOTS.vectors_BKD, {"keep": keep})
    for method in ("forward", "sample"):

        def made(slots: Slots, method: str = method) -> Tensor:
            told = {"target_BCHW": TARGET} if method == "forward" else {}
            found: Tensor = getattr(decoder, method)(slots, generator=stream(), **told).prediction_BCHW
            return found

        torch.testing.assert_close(made(Slots(other, {"keep": keep})), made(given), rtol=0, atol=1e-3)
        torch.testing.assert_close(made(given.select(order)), made(given), **EXACT)
        assert (made(SLOTS) - made(given)).abs().max() > 1e-3


# --- sampling ----------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SOLVERS, ids=str)
def test_an_images_picture_does_not_depend_on_its_batch(sampling: dict[str, Any]) -> None:
    decoder = build(sampling=sampling).eval()
    assert decoder.streams_per_image
    together = decoder.sample(SLOTS, generator=streams(5, 6, 7)).prediction_BCHW
    assert together.shape == (3, 3, 4, 8)
    assert together.dtype == torch.float64
    for i in range(3):
        for source in (streams(5 + i), stream(5 + i)):
            alone = decoder.sample(image(i), generator=source).prediction_BCHW
            torch.testing.assert_close(together[i : i + 1], alone, **EXACT)
    other = decoder.sample(SLOTS, generator=streams(5, 6, 8)).prediction_BCHW
    assert torch.equal(other[:2], together[:2])
    assert not torch.equal(other[2], together[2])


@pytest.mark.parametrize("sampling", SOLVERS, ids=str)
def test_a_strip_shows_every_prediction_on_the_way_to_the_sample(sampling: dict[str, Any]) -> None:
    codes, context = with_codes()
    decoder = build(context, sampling=sampling).eval()
    strip = list(decoder.strip(SLOTS, generator=stream()))
    number = sampling.get("steps", 20)
    assert [tuple(one.shape) for one in strip] == [(3, 3, 4, 8)] * number
    assert codes.calls == number
    assert all(torch.equal(one, codes(one)) for one in strip)
    walking = decoder._solving(SLOTS, stream())
    assert all(torch.equal(next(walking), one) for one in strip)
    with pytest.raises(StopIteration) as end:
        next(walking)
    assert torch.equal(end.value.value, decoder.sample(SLOTS, generator=stream()).prediction_BCHW)


@pytest.mark.parametrize("sampling", SOLVERS, ids=str)
def test_predictions_are_not_quantized_where_they_need_not_be(sampling: dict[str, Any]) -> None:
    codes, context = with_codes()
    quantized = build(context, sampling=sampling).sample(SLOTS, generator=stream()).prediction_BCHW
    assert codes.calls > 0
    codes.calls = 0
    decoder = build(context, sampling={**sampling, "requantize": False})
    off = decoder.sample(SLOTS, generator=stream()).prediction_BCHW
    assert codes.calls == 0
    without = build(sampling=sampling).sample(SLOTS, generator=stream()).prediction_BCHW
    torch.testing.assert_close(off, without, **EXACT)
    assert (quantized - without).abs().max() > 1e-3


def test_the_sample_is_that_of_slotdiffusion_20_evaluations_from_the_drawn_noise() -> None:
    decoder, seen = build(), []
    plain = decoder.unet.forward

    def noting(x: Tensor, step: Tensor, *rest: Any) -> Tensor:
        seen.append((x, step))
        return plain(x, step, *rest)

    decoder.unet.forward = noting  # type: ignore[method-assign]
    decoder.sample(SLOTS, generator=stream())
    assert len(seen) == 20
    assert torch.equal(seen[0][0], torch.randn((3, 3, 4, 8), generator=stream(), dtype=torch.float64))
    assert all(step.shape == (3,) and (step == step[0]).all() for _, step in seen)
    times = [float(step[0]) for _, step in seen]
    assert times == pytest.approx([999 - 999 * i / 20 for i in range(20)], abs=1e-9)


def test_sampling_has_no_dropout_and_no_gradients() -> None:
    decoder = build(dropout=0.5)
    made = [decoder.train(mode).sample(SLOTS, generator=stream()).prediction_BCHW for mode in (True, False)]
    assert torch.equal(*made)
    assert not made[0].requires_grad
    assert torch.is_grad_enabled()
    assert not any(one.requires_grad for one in decoder.strip(SLOTS, generator=stream()))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("timesteps", "sampling", "number"),
    [
        (1000, {}, 20),
        (7, {}, 7),
        (1000, {"solver": "ddim"}, 200),
        (30, {"solver": "ddim"}, 30),
        (30, {"solver": "ddpm"}, 30),
        (30, {"solver": "ddpm", "steps": 4}, 4),
        (1000, {"solver": "dpm_multistep"}, 25),
        (7, {"solver": "dpm_multistep"}, 6),
    ],
)
def test_the_number_of_evaluations(timesteps: int, sampling: dict[str, Any], number: int) -> None:
    decoder = build(timesteps=timesteps, sampling=sampling)
    strip = list(decoder.strip(image(0), generator=stream()))
    assert len(strip) == number
    assert all(one.isfinite().all() for one in strip)


@pytest.mark.parametrize("sampling", SOLVERS, ids=str)
def test_without_values_a_sample_takes_one_evaluation(sampling: dict[str, Any]) -> None:
    with torch.device("meta"):
        decoder = build(sampling=sampling)
        slots = Slots(torch.empty(2, 4, 5, dtype=torch.float64))
    made = decoder.sample(slots).prediction_BCHW
    assert made.is_meta
    assert made.shape == (2, 3, 4, 8)
    assert len(list(decoder.strip(slots))) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_latents_stay_whole(dtype: torch.dtype) -> None:
    decoder, keep = build().float(), torch.tensor([[1.0, 0, 1, 1]] * 3)
    for slots in (Slots(SLOTS.vectors_BKD.to(dtype)), Slots(SLOTS.vectors_BKD.to(dtype), {"keep": keep})):
        with torch.autocast("cpu", dtype=dtype):
            made = decoder.sample(slots, generator=stream()).prediction_BCHW
            found = decoder(slots, target_BCHW=TARGET.float(), generator=stream())
        assert made.dtype == found.target_BCHW.dtype == torch.float32
        assert made.isfinite().all()
        assert found.prediction_BCHW.isfinite().all()


def test_another_number_of_slots_is_taken() -> None:
    decoder, slots = build(), Slots(noise(3, 9, 5))
    assert decoder(slots, target_BCHW=TARGET, generator=stream()).prediction_BCHW.shape == TARGET.shape
    assert decoder.sample(slots, generator=stream()).prediction_BCHW.shape == TARGET.shape


# --- what it is --------------------------------------------------------------------------


class Codec(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.zeros(3))

    def forward(self, latents: Tensor) -> Tensor:
        return latents.round()


def test_the_codec_is_no_part_of_the_decoder() -> None:
    with_one = build(DecoderContext(slot_dim=5, target=CONTEXT.target, nearest=Codec()))
    assert with_one.state_dict().keys() == build().state_dict().keys()
    assert all(name.startswith("unet.") for name in with_one.state_dict())
    copy = pickle.loads(pickle.dumps(with_one))
    made = [decoder.sample(SLOTS, generator=stream()).prediction_BCHW for decoder in (with_one, copy)]
    assert torch.equal(*made)


@pytest.mark.parametrize(("slot_dim", "number"), [(192, 134_243_331), (256, 135_046_147)])
def test_the_defaults_are_slotdiffusions(slot_dim: int, number: int) -> None:
    context = DecoderContext(slot_dim=slot_dim, target=TargetShape(3, (32, 32)))
    with torch.device("meta"):
        decoder = LatentDiffusion(LatentDiffusionConfig(), context)
    assert isinstance(decoder, Sampler)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == number
    at_full = [part for part in (decoder.unet.down[0], decoder.unet.up[3]) for part in part.modules()]
    assert not any(isinstance(part, Transformer) for part in at_full)
    assert decoder.config.dropout == 0.1


# --- what it refuses ---------------------------------------------------------------------


def test_without_a_target_it_cannot_be_taught() -> None:
    with pytest.raises(ComponentError) as error:
        build()(SLOTS, generator=stream())
    assert str(error.value) == "is taught with the target and needs it; `sample` does without"


def test_every_image_needs_its_own_stream() -> None:
    decoder, text = build(), "each of 3 images needs a random stream of its own, not 2"
    for call in (
        lambda: decoder(SLOTS, target_BCHW=TARGET, generator=streams(1, 2)),
        lambda: decoder.sample(SLOTS, generator=streams(1, 2)),
    ):
        with pytest.raises(ComponentError) as error:
            call()
        assert str(error.value) == text


HALVED = (
    "4 levels halve the latents 3 times, and 4x8 do not divide by 8; write fewer multipliers, or take images "
    "of another size"
)


@pytest.mark.parametrize(
    ("settings", "field", "text"),
    [
        (
            {"beta_start": 0.02},
            "beta_start",
            "the first step's beta, 0.02, is greater than the last one's, 0.0195",
        ),
        (
            {"timesteps": 10, "sampling": {"steps": 11}},
            "sampling",
            "11 steps are more than there are 'timesteps', 10",
        ),
        (
            {"timesteps": 10, "sampling": {"solver": "dpm_multistep", "steps": 10}},
            "sampling",
            "10 steps are more than there are 'timesteps', 10, but one, which 'dpm_multistep' leaves out",
        ),
        (
            {"heads": 3},
            "heads",
            "3 heads do not divide the 16 channels where there is attention, at the factor 2",
        ),
        (
            {"sampling": {"eta": 0.5}},
            "sampling",
            "'eta' is a setting of the solver 'ddim', not of 'dpm_solver'; leave it out",
        ),
        ({"norm_groups": 3}, "norm_groups", "3 groups do not divide the width 8; take one of [1, 2, 4, 8]"),
        (
            {"attention_at": (8,)},
            "attention_at",
            "no level is smaller than the latents by 8; there are levels of the factors [1, 2]",
        ),
        (
            {"head_width": 3},
            "head_width",
            "heads of width 3 do not divide the 16 channels where there is attention, at the factor 2",
        ),
        ({"width": 7}, "width", "half of the time's code are sines: 7 is odd; take an even one"),
        (
            {"multipliers": (1, 1, 1, 1), "attention_at": ()},
            "multipliers",
            HALVED,
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], field: str, text: str) -> None:
    config = LatentDiffusionConfig.model_validate({**SMALL, **settings})
    with pytest.raises(ComponentError) as error:
        LatentDiffusion(config, CONTEXT)
    assert (str(error.value), error.value.field) == (text, field)
    assert field in LatentDiffusionConfig.model_fields


def test_classes_cannot_be_diffused() -> None:
    context = DecoderContext(slot_dim=5, target=TargetShape(1, (4, 8), classes=16))
    with pytest.raises(ComponentError) as error:
        LatentDiffusion(LatentDiffusionConfig.model_validate(SMALL), context)
    text = "takes noise away from numbers, and the target is one of 16 classes at each position; take an objective with latents"
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"sampling": {"step": 3}}, r"unknown key; did you mean 'steps'\?"),
        ({"sampling": {"solver": "euler"}}, "dpm_solver"),
        ({"sampling": {"eta": 1.5}}, "less than or equal to 1"),
        ({"dropout": 1.0}, "less than 1"),
        ({"timesteps": 1}, "greater than or equal to 2"),
        ({"beta_end": 1.0}, "less than 1"),
        ({"multipliers": []}, "at least 1 item"),
        ({"predicts": "score"}, "noise"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        LatentDiffusionConfig.model_validate(settings)
