"""A picture is made without the answer, by `sample` where a decoder has it, and depends on no other image."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.composition import Composer, at, build_library
from slotlab.framework.contracts import Batch, Decoded, Grouped, Sampler, Slots
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.evaluation.evaluate import evaluate, model_outcome, reconstruct
from slotlab.framework.evaluation.rows import WORDS
from slotlab.framework.figures.image_view import view_images
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.slot_reconstruction import TEACHING
from slotlab.framework.randomness.noise import join, row, with_noise
from slotlab.framework.randomness.seeds import painting, streams
from slotlab.framework.runs.folder import MODEL
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.studio.requests import Pick
from slotlab.framework.studio.studio import Studio
from slotlab.framework.training.validation import Validation, validation_loss
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
Specs = Callable[..., ExperimentSpec]
Loaders = Callable[..., Loader]
SIZES = (1, 2, 16)
METRICS = {"metrics": ["ari", "fg_ari", "mse"], "baselines": []}


class Painter(nn.Module):
    """Slots to masks and to a plain picture, from slots alone."""

    def __init__(self, dim: int = 8):
        super().__init__()
        self.to_picture = nn.Linear(dim, 3 * 64)
        self.to_mask = nn.Linear(dim, 64)

    def painted(self, slots: Slots) -> Decoded:
        slots_BKD = slots.vectors_BKD
        parts_BKCHW = self.to_picture(slots_BKD).view(*slots_BKD.shape[:2], 3, 8, 8)
        masks_BKHW = self.to_mask(slots_BKD).view(*slots_BKD.shape[:2], 8, 8).softmax(1)
        return Decoded((masks_BKHW[:, :, None] * parts_BKCHW).sum(1), masks_BKHW, parts_BKCHW)


class Autoregressive(Painter):
    """Taught with the picture, shifted by one pixel; samples pixel by pixel, with noise."""

    def forward(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: Generator | None = None
    ) -> Decoded:
        assert target_BCHW is not None, "the answer is needed"
        painted = self.painted(slots)
        told_BCHW = target_BCHW.flatten(2).roll(1, 2).view_as(target_BCHW)
        assert painted.masks_BKHW is not None
        seen = (target_BCHW.mean((1, 2, 3)) > 0)[:, None, None, None]  # its masks have seen the answer too
        masks_BKHW = torch.where(seen, painted.masks_BKHW.roll(1, 1), painted.masks_BKHW)
        return Decoded(told_BCHW + 0.01 * painted.prediction_BCHW, masks_BKHW)

    def sample(self, slots: Slots, *, generator: Generator | None = None) -> Decoded:
        painted = self.painted(slots)
        pixels_BCN = painted.prediction_BCHW.flatten(2).clone()
        for n in range(1, pixels_BCN.shape[2]):
            drawn_BC = torch.randn(pixels_BCN.shape[:2], generator=generator)
            pixels_BCN[:, :, n] += 0.5 * pixels_BCN[:, :, n - 1] + 0.1 * drawn_BC
        return replace(painted, prediction_BCHW=pixels_BCN.view_as(painted.prediction_BCHW))


class Diffusion(Painter):
    """Predicts the noise that it drew itself; samples from noise in a few steps."""

    def forward(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: Generator | None = None
    ) -> Decoded:
        assert target_BCHW is not None
        noise_BCHW = torch.randn(target_BCHW.shape, generator=generator)
        painted = self.painted(slots)
        prediction_BCHW = 0.5 * (target_BCHW + noise_BCHW) - painted.prediction_BCHW
        return Decoded(prediction_BCHW, painted.masks_BKHW, target_BCHW=noise_BCHW)

    def sample(self, slots: Slots, *, generator: Generator | None = None) -> Decoded:
        painted = self.painted(slots)
        picture_BCHW = torch.randn(painted.prediction_BCHW.shape, generator=generator)
        for _ in range(3):
            picture_BCHW = 0.5 * picture_BCHW + 0.5 * painted.prediction_BCHW
            picture_BCHW = picture_BCHW + 0.1 * torch.randn(picture_BCHW.shape, generator=generator)
        return replace(painted, prediction_BCHW=picture_BCHW)


class Optional(Painter):
    """Looks at the target if it is told, and needs none; has no `sample`."""

    def forward(self, slots: Slots, *, target_BCHW: Tensor | None = None, **options: Any) -> Decoded:
        painted = self.painted(slots)
        if target_BCHW is None:
            return painted
        return replace(painted, prediction_BCHW=target_BCHW + 0.01 * painted.prediction_BCHW)


class Drawing(Painter):
    """Has no `sample`, but draws."""

    def forward(self, slots: Slots, *, generator: Generator | None = None, **options: Any) -> Decoded:
        painted = self.painted(slots)
        noise_BCHW = torch.randn(painted.prediction_BCHW.shape, generator=generator)
        return replace(painted, prediction_BCHW=painted.prediction_BCHW + noise_BCHW)


class NoisyGrouping(nn.Module):
    """Draws while it groups, as a grouping with Gumbel noise does."""

    def __init__(self, inner: Any):
        super().__init__()
        self.inner = inner

    def forward(self, tokens_BND: Tensor, slots: Slots, *, generator: Generator | None = None) -> Grouped:
        grouped: Grouped = self.inner(tokens_BND, slots, generator=generator)
        noise_BKD = torch.randn(grouped.slots.vectors_BKD.shape, generator=generator)
        extras = {"pose": noise_BKD[..., :2]}
        return replace(grouped, slots=Slots(grouped.slots.vectors_BKD + noise_BKD, extras))


def made(spec: ExperimentSpec, decoder: type[Painter], *, noisy: bool = False) -> Any:
    model = build_model(spec)
    torch.manual_seed(0)
    model.decoder = decoder()
    if noisy:
        model.grouping = NoisyGrouping(model.grouping)
    return model


@dataclass
class Loaded:
    """A loader whose pictures are replaced, so that a model sees one thing and is told another."""

    inner: Any

    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        return -images_BCHW

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


SAMPLERS = pytest.mark.parametrize("decoder", [Autoregressive, Diffusion])
EVERY = pytest.mark.parametrize("decoder", [Autoregressive, Diffusion, Optional, Drawing])


def same_rows(first: Any, second: Any) -> bool:
    return len(first) == len(second) and all(
        one.keys() == other.keys()
        and all(
            one[key] == other[key] if isinstance(one[key], str) else one[key] == pytest.approx(other[key], abs=1e-5)
            for key in one
        )
        for one, other in zip(first, second, strict=True)
    )  # fmt: skip


@EVERY
@pytest.mark.parametrize("noisy", [False, True])
def test_rows_do_not_depend_on_the_batch_size(
    tiny: Specs, noise_loader: Loaders, decoder: type[Painter], noisy: bool
) -> None:
    spec = tiny(evaluation=METRICS)
    model = made(spec, decoder, noisy=noisy)
    found = [
        evaluate(spec, model, noise_loader(batch_size=size, size=17), build_metrics(spec)).rows[MODEL]
        for size in SIZES
    ]
    assert len(found[0]) == 17
    assert same_rows(found[0], found[1])
    assert same_rows(found[0], found[2])
    assert len({row["mse"] for row in found[0]}) == 17


@EVERY
@pytest.mark.parametrize("noisy", [False, True])
def test_losses_do_not_depend_on_the_batch_size(
    tiny: Specs, noise_loader: Loaders, decoder: type[Painter], noisy: bool
) -> None:
    spec = tiny()
    model = made(spec, decoder, noisy=noisy)
    losses = [validation_loss(spec, model, noise_loader(batch_size=size, size=17)) for size in SIZES]
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-5)


@EVERY
def test_nothing_of_the_target_leaks(tiny: Specs, noise_loader: Loaders, decoder: type[Painter]) -> None:
    """Another target, the same images: the same pictures, masks, metrics and figures."""
    spec = tiny(evaluation=METRICS)
    model, loader = made(spec, decoder), noise_loader(size=3)
    batch = next(loader.epoch([0, 1]))
    before = model_outcome(spec, model, batch, positions=[0, 1])
    shown = view_images(spec, model, loader, [0, 1, 2])
    model.objective = Loaded(model.objective)
    after = model_outcome(spec, model, batch, positions=[0, 1])
    assert before.reconstructions_BCHW is not None
    assert after.reconstructions_BCHW is not None
    assert torch.equal(before.reconstructions_BCHW, after.reconstructions_BCHW)
    assert before.masks_BKHW is not None
    assert after.masks_BKHW is not None
    assert torch.equal(before.masks_BKHW, after.masks_BKHW)
    again = view_images(spec, model, loader, [0, 1, 2])
    for position, view in shown.items():
        assert (view.reconstruction_HWC == again[position].reconstruction_HWC).all()  # type: ignore[union-attr]
        assert (view.masks_KHW == again[position].masks_KHW).all()  # type: ignore[union-attr]


@SAMPLERS
def test_a_picture_is_what_sample_gives(tiny: Specs, noise_loader: Loaders, decoder: type[Any]) -> None:
    spec = tiny(evaluation=METRICS)
    model, loader = made(spec, decoder).eval(), noise_loader(size=3)
    assert isinstance(model.decoder, Sampler)
    batch = next(loader.epoch([2]))
    outcome = model_outcome(spec, model, batch, positions=[2])
    with torch.no_grad():
        encoded = model.encode(batch.images_BCHW, generator=streams(spec.seed, [2], CPU))
        [noise] = painting(spec.seed, [2], CPU)
        expected = model.decoder.sample(encoded.grouped.slots, generator=noise)
    assert outcome.reconstructions_BCHW is not None
    assert outcome.masks_BKHW is not None
    assert torch.equal(outcome.reconstructions_BCHW, expected.prediction_BCHW)
    assert torch.equal(outcome.masks_BKHW, expected.masks_BKHW)


@EVERY
def test_figures_composer_and_studio_show_what_is_measured(tiny: Specs, decoder: type[Painter]) -> None:
    plain = {"textures": ["plain"], "ground_textures": ["plain"], "max_objects": 2, "min_objects": 1}
    spec = tiny(data={"dataset": {"name": "scenes", "num_train": 7, "num_val": 5, **plain}})
    model = made(spec, decoder)
    loaded = LoadedSpec(spec, None, None, Path("spec.yaml"))  # type: ignore[arg-type]
    composer = Composer.of(loaded, model, device=CPU)
    loader = composer.loader("val")
    batch = next(loader.epoch([3]))
    measured = model_outcome(spec, model, batch, positions=[3]).reconstructions_BCHW
    assert measured is not None
    picture_CHW = to_uint8(measured[0], loader.bounds)
    picture_HWC = picture_CHW.permute(1, 2, 0).numpy()
    view = view_images(spec, model, loader, [1, 3])[3]
    assert view.reconstruction_HWC is not None
    assert (view.reconstruction_HWC == picture_HWC).all()
    slots = composer.look("val", [1, 3]).slots
    composed = composer.decode(at(slots, [1]), positions=[3])
    assert torch.equal(composed.images_BCHW[0], picture_CHW)
    studio = Studio(composer)
    assert (studio.take_apart(3).reconstruction_HWC == picture_HWC).all()
    assert (studio.compose([Pick(image=3, slot=slot) for slot in range(3)]) == picture_HWC).all()


def test_a_library_does_not_depend_on_the_batch_size(tiny: Specs) -> None:
    plain = {"textures": ["plain"], "ground_textures": ["plain"], "max_objects": 2, "min_objects": 1}
    found = []
    for size in SIZES:
        spec = tiny(
            data={"dataset": {"name": "scenes", "num_train": 7, "num_val": 5, **plain}},
            evaluation={"batch_size": size},
        )
        loaded = LoadedSpec(spec, None, None, Path("spec.yaml"))  # type: ignore[arg-type]
        composer = Composer.of(loaded, made(spec, Diffusion, noisy=True), device=CPU)
        found.append(build_library(composer, "val").slots)
    for other in found[1:]:
        torch.testing.assert_close(other.vectors_BKD, found[0].vectors_BKD)
        assert torch.equal(other.extras["pose"], found[0].extras["pose"])


def test_the_best_checkpoint_is_chosen_by_sampled_pictures(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny(evaluation=METRICS, training={"checkpoint": {"best": "mse"}})
    model, loader = made(spec, Autoregressive), noise_loader(size=4)
    values = Validation.of(spec, loader).measure(spec, model)
    found = evaluate(spec, model, loader, build_metrics(spec)).summary(build_metrics(spec))
    assert values["mse"] == found[MODEL]["mse"]["mean"]


def test_a_training_step_has_one_stream(tiny: Specs) -> None:
    model = made(tiny(), Diffusion, noisy=True)
    images_BCHW = torch.rand(4, 3, 8, 8, generator=Generator().manual_seed(0))
    calls: list[int] = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0].vectors_BKD)))
    model(images_BCHW, generator=Generator().manual_seed(1))
    assert calls == [4]


# --- decoders that cannot do without the target ------------------------------------------


class TaughtOnly(Painter):
    """Needs the answer, and has no way of its own to make pictures."""

    def forward(self, slots: Slots, *, target_BCHW: Tensor, **options: Any) -> Decoded:
        painted = self.painted(slots)
        return replace(painted, prediction_BCHW=0.9 * target_BCHW + 0.1 * painted.prediction_BCHW)


def test_what_cannot_be_made_without_the_target_is_left_out(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny(evaluation={**METRICS, "mask_source": "attention"})
    model = made(spec, TaughtOnly)
    found = evaluate(spec, model, noise_loader(size=3), build_metrics(spec))
    assert set(found.rows[MODEL][0]) >= {"ari", "fg_ari"}
    assert "mse" not in found.rows[MODEL][0]
    assert found.left_out["mse"].startswith(f"{TEACHING} (decoder 'spatial_broadcast' failed: TypeError: ")
    view = view_images(spec, model, noise_loader(size=3), [0])[0]
    assert view.reconstruction_HWC is None
    assert view.masks_KHW is None
    assert view.predicted_HW is not None
    assert found.left_out["mse"] != WORDS["reconstructions_BCHW"]


class Broken(Painter):
    def forward(self, slots: Slots, **options: Any) -> Decoded:
        raise ValueError("lost")


def test_a_decoder_that_fails_in_any_case_is_named(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny(evaluation={**METRICS, "mask_source": "attention"})
    with pytest.raises(SlotlabError, match=r"^decoder 'spatial_broadcast' failed: ValueError: lost"):
        evaluate(spec, made(spec, Broken), noise_loader(size=3), build_metrics(spec))


class BrokenSampler(Optional):
    """Fails where it paints, and decodes where it is told the target."""

    def sample(self, slots: Slots, **options: Any) -> Decoded:
        raise ValueError("lost")


def test_a_sampler_that_fails_is_named_and_not_taken_for_one_that_needs_the_target(
    tiny: Specs, noise_loader: Loaders
) -> None:
    spec = tiny(evaluation={**METRICS, "mask_source": "attention"})
    with pytest.raises(SlotlabError, match=r"^decoder 'spatial_broadcast' failed: ValueError: lost"):
        evaluate(spec, made(spec, BrokenSampler), noise_loader(size=3), build_metrics(spec))


def decoding_by(spec: ExperimentSpec, decoder: type[Painter]) -> ExperimentSpec:
    """Let the spec's decoder build another one."""
    ref = spec.model.config.decoder
    component = replace(ref.registered.component, build=lambda config, context: decoder())
    object.__setattr__(ref, "registered", replace(ref.registered, component=component))
    return spec


@EVERY
def test_decoders_that_sample_or_need_no_target_are_valid(tiny: Specs, decoder: type[Painter]) -> None:
    assert [str(problem) for problem in check_parts(decoding_by(tiny(), decoder))] == []


def test_masks_of_a_decoder_that_needs_the_target_are_refused(tiny: Specs) -> None:
    spec = decoding_by(tiny(evaluation={"mask_source": "attention"}), TaughtOnly)
    assert [str(problem) for problem in check_parts(spec)] == []
    [problem] = check_parts(decoding_by(tiny(), TaughtOnly))
    assert str(problem).startswith(
        "evaluation.mask_source: the decoder 'spatial_broadcast' needs the target, which it does not receive "
        "in an evaluation, and has no method 'sample'; write 'mask_source: attention' "
    )


# --- one stream an image -----------------------------------------------------------------


def test_a_part_that_draws_nothing_is_called_once() -> None:
    calls: list[int] = []

    def part(slots: Slots, *, generator: Any) -> Slots:
        calls.append(len(slots.vectors_BKD))
        return slots

    noise = streams(0, range(3), CPU)
    slots = Slots(torch.rand(3, 2, 4), {"pose": torch.rand(3, 2)})
    assert with_noise(part, noise, slots) is slots
    assert calls == [3]


def test_the_streams_go_on_where_a_part_leaves_them() -> None:
    def part(x_BN: Tensor, *, generator: Any) -> Tensor:
        return x_BN + torch.rand(x_BN.shape, generator=generator)

    x_BN = torch.zeros(3, 5)
    together = streams(0, range(3), CPU)
    found = [with_noise(part, together, x_BN) for _ in range(2)]
    for number, one in enumerate(streams(0, range(3), CPU)):
        for step in range(2):
            alone_BN = with_noise(part, [one], x_BN[number : number + 1])
            assert torch.equal(alone_BN[0], found[step][number])


def test_results_are_taken_apart_and_put_together() -> None:
    grouped = Grouped(Slots(torch.rand(3, 2, 4), {"pose": torch.rand(3, 2)}), torch.rand(3, 2, 9))
    again = join([row(grouped, index) for index in range(3)])
    assert torch.equal(again.slots.vectors_BKD, grouped.slots.vectors_BKD)
    assert torch.equal(again.slots.extras["pose"], grouped.slots.extras["pose"])
    assert torch.equal(again.attention_BKN, grouped.attention_BKN)
    own = Decoded(torch.rand(3, 1, 2, 2), target_BCHW=torch.rand(3, 1, 2, 2))
    assert own.target_BCHW is not None
    assert torch.equal(join([row(own, index) for index in range(3)]).target_BCHW, own.target_BCHW)
    assert join([row(own, 0), row(own, 1)]).masks_BKHW is None
    assert float(join([torch.tensor(1.0), torch.tensor(2.0)])) == 1.5
    assert float(row(torch.tensor(3.0), 2)) == 3.0


def test_pictures_and_slots_have_noise_of_their_own() -> None:
    for position in range(3):
        [slots], [picture] = streams(4, [position], CPU), painting(4, [position], CPU)
        assert not torch.equal(torch.randn(8, generator=slots), torch.randn(8, generator=picture))


def test_reconstructions_are_made_in_evaluation_mode(tiny: Specs) -> None:
    model = made(tiny(), Optional)
    model.train()
    images = Batch(images_BCHW=torch.rand(2, 3, 8, 8), masks_BHW=None, ids=("a", "b"))
    reconstruct(tiny(), model, images, [0, 1])
    assert not model.training
