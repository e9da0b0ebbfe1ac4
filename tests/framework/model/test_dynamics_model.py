"""Foretold slots: the future is not looked at, the frozen model stays as it is, and mistakes are told at their line."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Generator, nn
from torch.nn import functional as F

from slotlab.framework.contracts import Batch, FindsSlots, HasBaselines, PaintsSlots, Reconstructs, Slots
from slotlab.framework.cost.flops import count_flops
from slotlab.framework.evaluation.evaluate import evaluate, reconstruct
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.trial_pass import Walk
from slotlab.framework.spec.identity import run_id
from slotlab.registry import SlotlabError

HISTORY, FRAMES, SLOTS = 3, 7, 3
PARTS = {
    "slots": SLOTS,
    "slot_dim": 8,
    "encoder": {"name": "cnn", "channels": [4], "kernel_size": 3},
    "initializer": "gaussian",
    "grouping": {"name": "slot_attention", "iterations": 1},
    "decoder": {"name": "spatial_broadcast", "broadcast_size": 4, "channels": [4]},
}
VIDEO = {**PARTS, "name": "video_slots", "predictor": "transformer"}
DYNAMICS = {"name": "slotformer", "width": 8, "layers": 1, "heads": 2}
VIDEOS = {"name": "moving_scenes", "num_frames": FRAMES, "num_train": 2, "num_val": 3}
CLIP = {"frames": FRAMES}


def run_of(folder, model):
    """A run of a spec, trained for a step on pictures."""
    spec = {
        "format": 1,
        "name": "input",
        "data": {
            "dataset": {"name": "scenes", "num_train": 2, "num_val": 2, "textures": ["plain"]},
            "protocol": {"name": "whole", "image_size": 8},
        },
        "model": model,
        "training": {"batch_size": 2, "phases": [{"steps": 1, "lr": 0.01}]},
        "evaluation": {"metrics": ["mse"]},
    }
    (folder / "spec.yaml").write_text(json.dumps(spec))
    loaded = prepare(folder / "spec.yaml").loaded
    return str(
        run_training(loaded, folder / "run", device=torch.device("cpu"), report=lambda told: None).path
    )


@pytest.fixture(scope="module")
def videos_run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("videos"), VIDEO)


@pytest.fixture(scope="module")
def images_run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("images"), {**PARTS, "name": "slot_autoencoder"})


@pytest.fixture
def spec(tiny, videos_run):
    def make(source=videos_run, clip=CLIP, evaluation=None, **changes):
        model = {
            "name": "slot_dynamics",
            "source": {"run": source},
            "slots": SLOTS,
            "history": HISTORY,
            "dynamics": DYNAMICS,
        }
        data = {"dataset": VIDEOS, **({} if clip is None else {"clip": clip})}
        return tiny(data=data, model={**model, **changes}, evaluation=evaluation or {})

    return make


@pytest.fixture
def model(spec):
    return lambda **changes: build_model(spec(**changes)).eval()


def streams(*seeds):
    return [Generator().manual_seed(seed) for seed in seeds]


def some_clips(clips, frames=FRAMES):
    stream = Generator().manual_seed(3)
    return torch.rand(clips * frames, 3, 8, 8, generator=stream) * 2 - 1


def batch_of(images, frames=FRAMES):
    ids = tuple(map(str, range(len(images) // frames)))
    masks = torch.randint(0, 3, (len(images), 8, 8), generator=Generator().manual_seed(4))
    return Batch(images_BCHW=images, masks_BHW=masks, ids=ids, attributes=({},) * len(images), frames=frames)


def same(one, other, tolerance=1e-6):
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


def by_clip(found, frames=FRAMES):
    return found.unflatten(0, (-1, frames))


def test_it_can_do_what_models_with_slots_do_and_owns_the_dynamics_alone(model):
    built = model()
    assert all(isinstance(built, one) for one in (FindsSlots, Reconstructs, PaintsSlots, HasBaselines))
    assert built.clips
    assert not built.supervised
    assert not built.fixed_num_slots
    assert [name for name, _ in built.named_children()] == ["source", "dynamics"]
    assert all(name.startswith("dynamics.") for name in built.state_dict())
    assert built.names["dynamics"] == "dynamics 'slotformer'"
    built.train()
    assert not any(part.training for part in built.parent.modules())


def test_training_changes_the_dynamics_and_nothing_of_the_frozen_model(model):
    built = model().train()
    built.losses(batch_of(some_clips(2)), generator=Generator().manual_seed(1)).total.backward()
    assert [name for name, one in built.named_parameters() if one.grad is None] == []
    assert all(one.grad is None and not one.requires_grad for one in built.parent.parameters())


def test_nothing_is_known_of_the_future(model):
    """Other pixels after the history change no mask, no picture and no slot of any frame."""
    built, images = model(), some_clips(2)
    other = by_clip(images).clone()
    other[:, HISTORY:] = -other[:, HISTORY:]
    one, two = (
        built.reconstruct(each, frames=FRAMES, generator=streams(1, 2), painting=streams(3, 4))
        for each in (images, other.flatten(0, 1))
    )
    assert torch.equal(one.images_BCHW, two.images_BCHW)
    assert torch.equal(one.decoded.masks_BKHW, two.decoded.masks_BKHW)
    assert torch.equal(one.found.slots.vectors_BKD, two.found.slots.vectors_BKD)
    found = built.find_slots(other.flatten(0, 1), frames=FRAMES, generator=streams(1, 2))
    assert torch.equal(found.slots.vectors_BKD, one.found.slots.vectors_BKD)
    other[:, HISTORY - 1] = -other[:, HISTORY - 1]
    seen = built.reconstruct(other.flatten(0, 1), frames=FRAMES, generator=streams(1, 2))
    assert not torch.allclose(by_clip(seen.images_BCHW)[:, HISTORY:], by_clip(one.images_BCHW)[:, HISTORY:])


def test_the_frames_seen_are_those_of_the_frozen_model_and_the_others_come_of_foretold_slots(model):
    built, images = model(), some_clips(2)
    shown = built.reconstruct(images, frames=FRAMES, generator=streams(1, 2), painting=streams(3, 4))
    seen = by_clip(images)[:, :HISTORY].flatten(0, 1)
    own = built.parent.reconstruct(seen, frames=HISTORY, generator=streams(1, 2), painting=streams(3, 4))
    assert torch.equal(by_clip(shown.images_BCHW)[:, :HISTORY].flatten(0, 1), own.images_BCHW)
    slots = by_clip(shown.found.slots.vectors_BKD)
    same(slots[:, HISTORY:], built.dynamics(slots[:, :HISTORY], FRAMES - HISTORY))
    painted = built.paint(Slots(slots[:, HISTORY:].flatten(0, 1)))
    same(by_clip(shown.decoded.masks_BKHW)[:, HISTORY:].flatten(0, 1), painted.masks_BKHW)
    same(by_clip(shown.images_BCHW)[:, HISTORY:].flatten(0, 1), built.to_image(painted.prediction_BCHW))
    assert shown.attention_BKHW is None
    assert own.attention_BKHW is not None


@pytest.mark.parametrize("frames", [1, HISTORY])
def test_clips_no_longer_than_the_history_are_seen_whole(model, frames):
    built, images = model(), some_clips(2, frames)
    shown = built.reconstruct(images, frames=frames, generator=streams(1, 2), painting=streams(3, 4))
    own = built.parent.reconstruct(images, frames=frames, generator=streams(1, 2), painting=streams(3, 4))
    assert torch.equal(shown.images_BCHW, own.images_BCHW)
    assert torch.equal(shown.attention_BKHW, own.attention_BKHW)
    found = built.find_slots(images, frames=frames, generator=streams(1, 2))
    same(found.slots.vectors_BKD, own.found.slots.vectors_BKD)


@pytest.mark.parametrize("kind", ["videos", "images"])
def test_a_clip_does_not_depend_on_its_batch(model, request, kind):
    built, images = model(source=request.getfixturevalue(f"{kind}_run")), some_clips(3)
    whole = built.reconstruct(images, frames=FRAMES, generator=streams(1, 2, 3), painting=streams(4, 5, 6))
    alone = images[FRAMES : 2 * FRAMES]
    one = built.reconstruct(alone, frames=FRAMES, generator=streams(2), painting=streams(5))
    same(one.images_BCHW, whole.images_BCHW[FRAMES : 2 * FRAMES])
    same(one.decoded.masks_BKHW, whole.decoded.masks_BKHW[FRAMES : 2 * FRAMES])
    same(one.found.slots.vectors_BKD, whole.found.slots.vectors_BKD[FRAMES : 2 * FRAMES])


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_a_clip_does_not_depend_on_how_many_frames_are_decoded_at_once(model, at_once):
    images = some_clips(2)
    whole, cut = (
        model(frames_at_once=number).reconstruct(
            images, frames=FRAMES, generator=streams(1, 2), painting=streams(3, 4)
        )
        for number in (FRAMES, at_once)
    )
    same(cut.images_BCHW, whole.images_BCHW)
    same(cut.decoded.masks_BKHW, whole.decoded.masks_BKHW)
    assert whole.decoded.parts_BKCHW.shape == (2 * FRAMES, SLOTS, 3, 8, 8)
    assert cut.decoded.parts_BKCHW is None


def test_losses_are_those_of_foretold_slots_and_of_what_is_decoded_from_them(model):
    built, images = model(slot_loss=2.0, image_loss=0.5), some_clips(2)
    losses = built.losses(batch_of(images), generator=streams(1, 2))
    found = by_clip(built.parent.find_slots(images, frames=FRAMES, generator=streams(1, 2)).slots.vectors_BKD)
    foretold = built.dynamics(found[:, :HISTORY], FRAMES - HISTORY)
    same(losses.terms["slots"], 2 * F.mse_loss(foretold, found[:, HISTORY:]))
    painted = built.paint(Slots(foretold.flatten(0, 1))).prediction_BCHW
    wanted = by_clip(images)[:, HISTORY:].flatten(0, 1)
    same(losses.terms["images"], 0.5 * F.mse_loss(painted, wanted))
    same(losses.total, losses.terms["slots"] + losses.terms["images"])
    assert set(model(image_loss=0).losses(batch_of(images)).terms) == {"slots"}
    assert set(model(slot_loss=0).losses(batch_of(images)).terms) == {"images"}


def test_the_loss_of_clips_in_validation_is_the_mean_of_theirs(model):
    built, images = model(), some_clips(3)
    whole = built.losses(batch_of(images), generator=streams(1, 2, 3)).total
    clips = [batch_of(one.clone()) for one in by_clip(images)]
    parts = [built.losses(one, generator=streams(i + 1)).total for i, one in enumerate(clips)]
    same(whole, torch.stack(parts).mean())


def test_teachers_show_each_frame_what_was_found_before_it(model):
    built, images = model(teacher_forcing=True, image_loss=0), some_clips(2)
    found = by_clip(built.parent.find_slots(images, frames=FRAMES, generator=streams(1, 2)).slots.vectors_BKD)
    steps = range(FRAMES - HISTORY)
    taught = torch.cat([built.dynamics(found[:, step : step + HISTORY], 1) for step in steps], dim=1)
    wanted = F.mse_loss(taught, found[:, HISTORY:])
    same(built.losses(batch_of(images), generator=streams(1, 2)).total, wanted)
    assert not torch.allclose(
        wanted, model(image_loss=0).losses(batch_of(images), generator=streams(1, 2)).total
    )


def test_another_number_of_slots_is_foretold_too(model):
    shown = model().reconstruct(some_clips(2), frames=FRAMES, num_slots=5, generator=streams(1, 2))
    assert shown.decoded.masks_BKHW.shape == (2 * FRAMES, 5, 8, 8)


def test_operations_of_the_dynamics_are_counted(spec):
    found = count_flops(spec())
    assert found.training["dynamics"] > found.forward["dynamics"] > 0


def test_what_changes_no_weights_is_no_part_of_a_runs_identity(spec):
    assert run_id(spec(baselines=[], frames_at_once=2)) == run_id(spec())
    assert run_id(spec(history=2)) != run_id(spec())


def test_a_run_that_is_told_boxes_is_told_them_in_training_and_in_evaluation(spec, tmp_path):
    """Of the first frame alone: other masks of later frames change nothing, others of the first one do."""
    initializer = {"name": "conditional", "hidden_dim": 32}
    wanted = spec(source=run_of(tmp_path, {**VIDEO, "initializer": initializer}))
    assert check_parts(wanted) == []
    built, batch = build_model(wanted).eval(), batch_of(some_clips(2))
    assert (built.told, built.supervised) == ("boxes", True)
    assert all((one.told, one.supervised) == ("boxes", True) for one in built.baselines().values())

    def loss_and_pictures(masks):
        told = replace(batch, masks_BHW=masks.flatten(0, 1))
        shown = reconstruct(wanted, built, told, [0, 1])
        return built.losses(told).total, shown.images_BCHW

    masks = by_clip(batch.masks_BHW)
    loss, pictures = loss_and_pictures(masks)
    later, first = masks.clone(), masks.clone()
    later[:, 1:] = 0
    first[:, 0, :4] = 0
    assert torch.equal(loss_and_pictures(later)[0], loss)
    assert torch.equal(loss_and_pictures(later)[1], pictures)
    assert not torch.equal(loss_and_pictures(first)[0], loss)
    assert not torch.allclose(loss_and_pictures(first)[1], pictures)
    seen = by_clip(batch.images_BCHW)[:, :HISTORY].flatten(0, 1)
    own = built.parent.reconstruct(seen, frames=HISTORY, first_masks_BHW=masks[:, 0])
    assert torch.equal(by_clip(pictures)[:, :HISTORY].flatten(0, 1), own.images_BCHW)
    with pytest.raises(SlotlabError, match="is told none"):
        built.losses(replace(batch, masks_BHW=None))


# --- baselines -----------------------------------------------------------------------------


class Clips:
    """A loader of some clips, as an evaluation uses it."""

    def __init__(self, clips):
        self.clips = clips

    def count(self, most):
        return self.clips

    def share(self, positions):
        yield list(positions), batch_of(some_clips(self.clips))


def measured(spec, **options):
    return evaluate(spec, build_model(spec), Clips(3), build_metrics(spec), **options).rows


def test_baselines_are_measured_beside_the_trained_dynamics(spec):
    wanted = spec(evaluation={"from_frame": HISTORY, "metrics": ["mse", "ari"], "baselines": ["one_segment"]})
    rows = measured(wanted)
    assert list(rows) == ["model", "repeat", "constant_velocity", "one_segment"]
    built = build_model(wanted).eval()
    found = built.baselines()["repeat"].reconstruct(some_clips(1), frames=FRAMES, generator=streams(1))
    slots = by_clip(found.found.slots.vectors_BKD)
    assert torch.equal(
        slots[:, HISTORY:], slots[:, HISTORY - 1 : HISTORY].expand(-1, FRAMES - HISTORY, -1, -1)
    )
    values = [[row["mse"] for row in rows[name]] for name in ("model", "repeat", "constant_velocity")]
    assert len({tuple(one) for one in values}) == 3


def test_validation_and_specs_without_baselines_measure_none(spec):
    wanted = spec(evaluation={"metrics": ["mse"]})
    assert list(measured(wanted, baselines=())) == ["model"]
    assert list(measured(spec(baselines=[], evaluation={"metrics": ["mse"]}))) == ["model"]


# --- how mistakes are told -----------------------------------------------------------------


def problem_of(spec):
    (problem,) = check_parts(spec)
    return problem.path, problem.text


def test_a_whole_spec_is_valid_and_keeps_its_promises_with_values(spec, images_run):
    for wanted in (spec(), spec(source=images_run), spec(evaluation={"slots": 5})):
        assert check_parts(wanted) == []
        assert Walk(wanted, build_model(wanted).eval(), batch_of(some_clips(2))).problem() is None


@pytest.mark.parametrize(
    ("clip", "words"),
    [({"frames": HISTORY}, f"clips of {HISTORY} frames leave"), (None, "single pictures leave")],
)
def test_clips_that_leave_nothing_to_foretell_are_refused(spec, model, clip, words):
    path, text = problem_of(spec(clip=clip))
    assert path == ("model", "history")
    assert f"{words} nothing to foretell after a history of {HISTORY}; take 4 frames or more" in text
    with pytest.raises(SlotlabError, match="nothing to foretell"):
        model().losses(batch_of(some_clips(2, HISTORY), HISTORY))


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"dynamics": "repeat"}, ("dynamics",), "has no weights: there is nothing to train"),
        ({"slots": 4}, ("slots",), "its run has 3 slots, and not 4; write 'slots: 3'"),
        (
            {"baselines": ["repeat", DYNAMICS]},
            ("baselines", 1),
            "has weights, which nothing would train here",
        ),
        ({"baselines": ["repeat", "repeat"]}, ("baselines", 1), "'repeat' are given twice; keep one"),
        ({"dynamics": {**DYNAMICS, "heads": 3}}, ("dynamics", "heads"), "3 heads do not divide"),
    ],
)
def test_settings_that_do_not_fit_are_told_at_their_line(spec, changes, path, words):
    found, text = problem_of(spec(**changes))
    assert found == ("model", *path)
    assert words in text


def test_two_weights_of_zero_are_refused(spec):
    with pytest.raises(ValueError, match="nothing would be learned"):
        spec(slot_loss=0, image_loss=0)


def test_attention_is_no_mask_of_what_nobody_looked_at(spec):
    path, text = problem_of(spec(evaluation={"mask_source": "attention"}))
    assert path == ("evaluation", "mask_source")
    assert "foretold frames have no attention; write 'mask_source: decoder'" in text


def test_slots_that_are_more_than_vectors_are_refused(spec, tmp_path):
    grouping = {"name": "adaptive_slots", "grouping": "slot_attention"}
    run = run_of(tmp_path, {**PARTS, "name": "slot_autoencoder", "grouping": grouping})
    path, text = problem_of(spec(source=run))
    assert path == ("model", "source")
    assert "the slots of its run are more than vectors (keep), which dynamics do not foretell" in text


def test_a_run_without_slots_is_refused(spec, tmp_path):
    codec = {"name": "dvae", "codes": 16, "width": 8}
    path, text = problem_of(spec(source=run_of(tmp_path, {"name": "codec", "codec": codec})))
    assert path == ("model", "source")
    assert "the model 'codec' of its run is none with an encoder, slots and a decoder" in text


class Wrong(nn.Module):
    """Dynamics with a mistake."""

    def __init__(self, inner, answer):
        super().__init__()
        self.inner, self.answer = inner, answer

    def forward(self, slots, steps):
        return self.answer(self.inner(slots, steps))


MISTAKES = {
    "slots of the frames that follow should have shape (2, 4, 3, 8), not (2, 3, 3, 8)": lambda x: x[:, 1:],
    "slots of the frames that follow should be a tensor of shape (2, 4, 3, 8), not tuple": lambda x: (x,),
    "the foretold slots have no gradient": lambda x: x.detach(),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_of_the_dynamics_is_shown_at_the_dynamics(spec, monkeypatch, text):
    wanted = spec()
    component = wanted.model.config.dynamics.registered.component
    build = component.build
    wrong = lambda config, context: Wrong(build(config, context), MISTAKES[text])  # noqa: E731
    monkeypatch.setitem(component.__dict__, "build", wrong)
    path, found = problem_of(wanted)
    assert path == ("model", "dynamics")
    assert text in found
