"""Slots that follow clips: results depend on the clip alone, however it is cut; every part is seen and checked."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Generator, nn

from slotlab.framework.contracts import (
    Batch,
    FindsSlots,
    Grouped,
    GroupingTrace,
    Model,
    Reconstructs,
    Slots,
)
from slotlab.framework.cost.flops import count_flops
from slotlab.framework.model.build import build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.engine import recomputed
from slotlab.framework.model.slot_kernel import LOG_VARIANCE
from slotlab.framework.model.video_model import alike
from slotlab.framework.spec.data import ClipSpec
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.plain_settings import has_effect
from slotlab.registry import SlotlabError

VIDEO = {"name": "video_slots", "predictor": "transformer_lstm", "kernel": {"variance": 0.01}}
PARTS = {
    "slots": 3,
    "slot_dim": 8,
    "encoder": {"name": "cnn", "channels": [4], "kernel_size": 3},
    "initializer": "gaussian",
    "grouping": {"name": "slot_attention", "iterations": 1},
    "decoder": {"name": "spatial_broadcast", "broadcast_size": 4, "channels": [4]},
}


def streams(*seeds):
    return [Generator().manual_seed(seed) for seed in seeds]


def some_clips(clips, frames, side=8):
    return torch.rand(clips * frames, 3, side, side, generator=Generator().manual_seed(3)) * 2 - 1


def batch_of(images, frames):
    clips = len(images) // frames
    return Batch(images_BCHW=images, masks_BHW=None, ids=tuple(map(str, range(clips))), frames=frames)


@pytest.fixture
def spec(tiny):
    return lambda **changes: tiny(model={**PARTS, **VIDEO, **changes})


@pytest.fixture
def model(spec):
    return lambda **changes: build_model(spec(**changes)).eval()


def same(one, other, tolerance=1e-6):
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


def test_it_is_a_model_of_clips_that_can_do_what_slot_models_do(model):
    built = model()
    assert built.clips
    assert not Model.clips
    assert isinstance(built, FindsSlots)
    assert isinstance(built, Reconstructs)
    assert [name for name, _ in built.named_children()] == [
        *("encoder", "projection", "initializer", "grouping", "kernel", "predictor", "decoder")
    ]
    assert "predictor" in built.compiled
    assert built.names["predictor"] == "predictor 'transformer_lstm'"


def test_a_clip_does_not_depend_on_its_batch(model):
    built, images = model(), some_clips(3, 4)
    whole = built.reconstruct(images, frames=4, generator=streams(1, 2, 3), painting=streams(4, 5, 6))
    alone = built.reconstruct(images[4:8], frames=4, generator=streams(2), painting=streams(5))
    same(alone.images_BCHW, whole.images_BCHW[4:8])
    same(alone.found.slots.vectors_BKD, whole.found.slots.vectors_BKD[4:8])
    same(alone.found.attention_BKHW, whole.found.attention_BKHW[4:8])
    same(alone.decoded.masks_BKHW, whole.decoded.masks_BKHW[4:8])


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
@pytest.mark.parametrize("predictor", ["transformer_lstm", "transformer", "identity"])
def test_a_clip_does_not_depend_on_how_many_frames_are_seen_at_once(model, at_once, predictor):
    images = some_clips(2, 7)
    results = []
    for number in (7, at_once):
        built = model(predictor=predictor, frames_at_once=number)
        results.append(built.reconstruct(images, frames=7, generator=streams(1, 2), painting=streams(4, 5)))
        found = built.find_slots(images, frames=7, generator=streams(1, 2))
        same(found.slots.vectors_BKD, results[-1].found.slots.vectors_BKD)
    whole, cut = results
    same(cut.images_BCHW, whole.images_BCHW)
    same(cut.found.attention_BKHW, whole.found.attention_BKHW)
    same(cut.decoded.masks_BKHW, whole.decoded.masks_BKHW)
    assert whole.decoded.parts_BKCHW.shape == (14, 3, 3, 8, 8)
    assert (cut.decoded.parts_BKCHW is None) == (at_once < 7)


class Drawing(nn.Module):
    """A decoder that adds noise to the pictures of another one."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, slots, *, target_BCHW=None, generator=None):
        decoded = self.inner(slots)
        noise = torch.randn(decoded.prediction_BCHW.shape, generator=generator)
        return replace(decoded, prediction_BCHW=decoded.prediction_BCHW + noise)


def test_pictures_that_are_drawn_depend_on_their_clip_and_frame_alone(model):
    images, results = some_clips(2, 5), []
    for number in (5, 2, 1):
        built = model(frames_at_once=number)
        built.decoder = Drawing(built.decoder)
        results.append(built.reconstruct(images, frames=5, generator=streams(1, 2), painting=streams(4, 5)))
    alone = built.reconstruct(images[5:], frames=5, generator=streams(2), painting=streams(5))
    for one in results:
        same(one.images_BCHW, results[0].images_BCHW)
    same(alone.images_BCHW, results[0].images_BCHW[5:])
    plain = built.decoder.inner(results[0].found.slots).prediction_BCHW
    noise = results[0].images_BCHW - plain
    assert not torch.allclose(noise[0], noise[1], atol=0.1)


def test_noise_of_decoders_in_training_is_that_of_a_clips_frame_alone(model):
    images, built = some_clips(2, 5), model()
    built.decoder = Drawing(built.decoder)
    together = built(images, frames=5, generator=streams(1, 2)).decoded.prediction_BCHW
    alone = built(images[5:], frames=5, generator=streams(2)).decoded.prediction_BCHW
    same(alone, together[5:])


def test_features_may_be_given(model):
    built, images = model(frames_at_once=2), some_clips(2, 3)
    with torch.no_grad():
        features = built.encoder(images)
    built.encoder = None
    given = built.reconstruct(images, frames=3, generator=streams(1, 2), features_BCHW=features)
    same(given.images_BCHW, model().reconstruct(images, frames=3, generator=streams(1, 2)).images_BCHW)


def test_losses_are_finite_in_half_precision(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(frames_at_once=2).losses(batch_of(some_clips(2, 3), 3), generator=streams(1, 2))
    assert losses.total.isfinite()


@pytest.mark.parametrize("part", ["grouping", "predictor", "kernel", "decoder"])
def test_parts_may_be_recomputed(model, part):
    gradients = []
    for again in (False, True):
        built, batch = model(), batch_of(some_clips(2, 3), 3)
        if again:
            module = built.get_submodule(part)
            module.forward = partial(recomputed, module.forward)
        built.losses(batch, generator=Generator().manual_seed(1)).total.backward()
        gradients.append([one.grad for one in built.parameters()])
    for one, other in zip(*gradients, strict=True):
        same(one, other)


def test_training_sees_what_an_evaluation_sees(model):
    built, images = model(frames_at_once=2), some_clips(2, 5)
    output = built(images, frames=5, generator=streams(1, 2))
    shown = built.reconstruct(images, frames=5, generator=streams(1, 2))
    same(output.decoded.prediction_BCHW, shown.images_BCHW)
    assert output.frames == 5
    assert len(output.initial.vectors_BKD) == len(output.grouped.slots.vectors_BKD) == 10


def test_frames_are_in_the_order_of_their_clips(model):
    """What is found in the first frame of each clip is what is found in that image alone."""
    built, images = model(kernel=None), some_clips(3, 4)
    clips = built.find_slots(images, frames=4, generator=streams(1, 2, 3))
    stills = built.find_slots(images[::4], generator=streams(1, 2, 3))
    same(clips.slots.vectors_BKD[::4], stills.slots.vectors_BKD)
    later = built.find_slots(images[1::4], generator=streams(1, 2, 3))
    assert not torch.allclose(clips.slots.vectors_BKD[1::4], later.slots.vectors_BKD, atol=1e-3)


def test_an_image_is_what_the_slot_autoencoder_makes_of_it(tiny, model):
    image_model = build_model(tiny(model={**PARTS, "name": "slot_autoencoder"})).eval()
    built, images = model(kernel=None), some_clips(2, 1)
    built.load_state_dict(image_model.state_dict(), strict=False)
    one, other = (each.reconstruct(images, generator=streams(1, 2)) for each in (image_model, built))
    assert torch.equal(one.images_BCHW, other.images_BCHW)


def test_the_past_reaches_the_future_and_not_the_other_way(model):
    built, images = model(frames_at_once=2), some_clips(1, 4)
    changed = images.clone()
    changed[2] += 1
    before, after = (built.find_slots(one, frames=4, generator=streams(1)) for one in (images, changed))
    same(before.slots.vectors_BKD[:2], after.slots.vectors_BKD[:2])
    assert not torch.allclose(before.slots.vectors_BKD[3], after.slots.vectors_BKD[3], atol=1e-4)


def test_gradients_go_back_through_time_to_every_part(model):
    built = model().train()
    built.losses(batch_of(some_clips(2, 3), 3), generator=Generator().manual_seed(1)).total.backward()
    assert [name for name, one in built.named_parameters() if one.grad is None] == []


def test_the_loss_of_clips_in_validation_is_the_mean_of_theirs(model):
    built, images = model(), some_clips(3, 2)
    whole = built.losses(batch_of(images, 2), generator=streams(1, 2, 3))
    parts = [built.losses(batch_of(images[2 * i : 2 * i + 2], 2), generator=streams(i + 1)) for i in range(3)]
    same(whole.total, torch.stack([one.total for one in parts]).mean())
    same(whole.terms["kernel"], torch.stack([one.terms["kernel"] for one in parts]).mean())
    same(whole.total, whole.terms["objective"] + whole.terms["kernel"])


@pytest.mark.parametrize(("first", "others"), [(3, 1), (2, None), (None, 2)])
def test_iterations_differ_by_frame(model, first, others):
    built = model(kernel=None, first_iterations=first, iterations=others)
    told = []
    built.grouping.register_forward_pre_hook(
        lambda part, inputs, named: told.append(named.get("iterations")), with_kwargs=True
    )
    built.find_slots(some_clips(1, 3), frames=3, generator=streams(1))
    assert told == [first, others, others]


def test_iterations_by_call_are_those_of_the_settings(model):
    three = model(kernel=None, grouping={"name": "slot_attention", "iterations": 3})
    called = model(kernel=None, first_iterations=3, iterations=3)
    one, other = (
        each.find_slots(some_clips(1, 2), frames=2, generator=streams(1)) for each in (three, called)
    )
    assert torch.equal(one.slots.vectors_BKD, other.slots.vectors_BKD)


def test_images_that_are_no_whole_clips_are_refused(model):
    with pytest.raises(SlotlabError, match="5 images are no whole clips of 2 frames each"):
        model().reconstruct(some_clips(5, 1), frames=2)


def test_drawn_kernels_are_drawn_from_the_clip_alone_and_pulled_in_their_variance(model):
    built = model()
    output = built(some_clips(1, 2), frames=2, generator=streams(1))
    log_variance = output.initial.extras[LOG_VARIANCE]
    assert LOG_VARIANCE not in output.grouped.slots.extras
    wanted = torch.distributions.kl_divergence(
        torch.distributions.Normal(torch.zeros(2, 3, 8), (log_variance / 2).exp()),
        torch.distributions.Normal(torch.zeros(2, 3, 8), 0.1),
    )
    same(built.kernel.loss(output.initial), wanted.sum(-1).mean())
    assert "kernel" not in model(kernel={}).losses(batch_of(some_clips(1, 2), 2)).terms


# --- how mistakes are told ---------------------------------------------------------------


class Wrong(nn.Module):
    """A predictor with a mistake."""

    def __init__(self, inner, answer):
        super().__init__()
        self.inner, self.answer = inner, answer

    def start(self, slots):
        return self.inner.start(slots)

    def forward(self, slots, state):
        return self.answer(*self.inner(slots, state))


MISTAKES = {
    "forward should return (Slots, state), not Slots": lambda slots, state: slots,
    "slots should have shape (2, 3, 8), not (2, 2, 8)": lambda slots, state: (
        slots.select(torch.arange(2)),
        state,
    ),
    "'cell', remembered of the slots, should be a tensor whose first axes are (2, 3), not (2,)": lambda s, t: (
        s,
        {"cell": torch.zeros(2)},
    ),
    "the predicted slots have no gradient": lambda slots, state: (Slots(slots.vectors_BKD.detach()), state),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_of_the_predictor_is_shown_at_the_predictor(spec, monkeypatch, text):
    wanted = spec()
    component = wanted.model.config.predictor.registered.component
    build = component.build
    wrong = lambda config, context: Wrong(build(config, context), MISTAKES[text])  # noqa: E731
    monkeypatch.setitem(component.__dict__, "build", wrong)
    (problem,) = check_parts(wanted)
    assert problem.path == ("model", "predictor")
    assert text in str(problem)


def test_a_whole_spec_is_valid(spec):
    assert check_parts(spec()) == []
    assert check_parts(spec(first_iterations=2, iterations=1, kernel=None, predictor="identity")) == []


def test_operations_of_the_predictor_are_counted(spec):
    wanted = spec()
    data = wanted.data.model_copy(update={"clip": ClipSpec(frames=3)})
    found = count_flops(wanted.model_copy(update={"data": data}))
    assert found.training["predictor"] > found.forward["predictor"] > 0
    assert found.training["kernel"] > 0


def test_operations_are_those_of_a_frame(spec):
    found = []
    for frames in (2, 4):
        wanted = spec()
        data = wanted.data.model_copy(update={"clip": ClipSpec(frames=frames)})
        found.append(count_flops(wanted.model_copy(update={"data": data})))
    assert found[0].forward["encoder"] == found[1].forward["encoder"]
    assert found[0].forward["decoder"] == pytest.approx(
        found[1].forward["decoder"], rel=0.01
    )  # a code of places


def test_frames_at_once_are_no_part_of_a_runs_identity(spec):
    assert run_id(spec(frames_at_once=2)) == run_id(spec())
    assert run_id(spec(iterations=2)) != run_id(spec())
    assert not has_effect("model.frames_at_once")


def test_batches_of_clips_are_cut_between_clips():
    batch = batch_of(some_clips(3, 4), 4)
    assert [len(one) for one in batch.chunk(2)] == [2, 1]
    assert len(replace(batch, frames=1, ids=("",) * 12)) == 12


def test_traces_of_frames_with_fewer_rounds_cut_the_others_to_their_last_rounds():
    def frame(rounds):
        attention = torch.arange(float(rounds)).reshape(1, rounds, 1, 1)
        return Grouped(
            Slots(torch.zeros(1, 1, 4)), attention[:, -1], GroupingTrace(attention[:, -1], attention)
        )

    found = alike([frame(3), frame(1), frame(2)])
    assert [one.trace.attention_BTKN.flatten().tolist() for one in found] == [[2.0], [0.0], [1.0]]
    untold = [frame(3), replace(frame(1), trace=None)]
    assert alike(untold) == untold
