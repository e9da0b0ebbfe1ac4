"""Slots of clips in other company: what is decoded is what an evaluation sees, and a scene rolls on without a slot."""

from pathlib import Path

import pytest
import torch

from slotlab.framework.composition import Composer
from slotlab.framework.composition.clip_composer import ClipComposer, ClipPick, SeenClip
from slotlab.framework.contracts import Foretells
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.evaluation.evaluate import reconstruct
from slotlab.registry import SlotlabError

HISTORY, FRAMES = 6, 12


@pytest.fixture(scope="module", params=["savi_demo", "slotformer_demo"])
def clips(request: pytest.FixtureRequest, clip_runs: Path) -> ClipComposer:
    return ClipComposer(Composer.open(clip_runs / request.param, device=torch.device("cpu")))


@pytest.fixture(scope="module")
def foretelling(clip_runs: Path) -> ClipComposer:
    return ClipComposer(Composer.open(clip_runs / "slotformer_demo", device=torch.device("cpu")))


def picks(clip: SeenClip, *slots: int) -> list[ClipPick]:
    return [ClipPick(clip, slot) for slot in slots]


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() < 1e-5


def test_a_clip_is_decoded_to_what_its_evaluation_measures(clips: ClipComposer) -> None:
    composer, seen = clips.composer, clips.look(1)
    made = reconstruct(composer.spec, composer.model, seen.batch, [1])
    assert seen.frames == FRAMES
    assert made.images_BCHW is not None
    shown = to_uint8(made.images_BCHW, composer.spec.data.bounds)
    assert (shown.int() - seen.composed.images_BCHW.int()).abs().max() <= 1
    same(seen.masks_TKHW.sum(dim=1), torch.ones(FRAMES, 16, 16))


def test_all_slots_of_a_clip_are_the_clip(clips: ClipComposer) -> None:
    seen = clips.look(0)
    same(clips.mix(picks(seen, 0, 1, 2, 3)).vectors_BKD, seen.slots.vectors_BKD)


def test_slots_of_two_clips_go_together_frame_by_frame(clips: ClipComposer) -> None:
    a, b = clips.look(0), clips.look(2)
    mixed = clips.mix([*picks(a, 3), *picks(b, 0)]).vectors_BKD
    seen = FRAMES if clips.history is None else HISTORY
    same(mixed[:seen, 0], a.slots.vectors_BKD[:seen, 3])
    same(mixed[:seen, 1], b.slots.vectors_BKD[:seen, 0])
    assert mixed.shape[0] == FRAMES
    moved = [ClipPick(a, 3, (b, 0), 0.0), ClipPick(a, 3, (b, 0), 1.0)]
    ends = clips.mix(moved).vectors_BKD
    same(ends[:seen, 0], a.slots.vectors_BKD[:seen, 3])
    same(ends[:seen, 1], b.slots.vectors_BKD[:seen, 0])


def test_a_scene_rolls_on_as_if_a_removed_slot_had_never_been(foretelling: ClipComposer) -> None:
    model = foretelling.composer.model
    assert isinstance(model, Foretells)
    assert (model.history, foretelling.history) == (HISTORY, HISTORY)
    seen, kept = foretelling.look(1), [0, 2, 3]
    rolled = foretelling.mix(picks(seen, *kept), 20).vectors_BKD
    assert rolled.shape[0] == 20
    history_TKD = seen.slots.vectors_BKD[:HISTORY, kept]
    same(rolled[:HISTORY], history_TKD)
    with torch.no_grad():
        same(rolled[HISTORY:], model.foretell(history_TKD[None], 20 - HISTORY)[0])
    for frames in (3, HISTORY, 9):
        same(foretelling.mix(picks(seen, *kept), frames).vectors_BKD, rolled[:frames])
    assert len(foretelling.decode(foretelling.mix(picks(seen, *kept), 20), 1).images_BCHW) == 20


def test_what_cannot_be_is_told(clips: ClipComposer) -> None:
    seen = clips.look(0)
    with pytest.raises(SlotlabError, match="split 'val' has no clip 3: they are 0 to 2"):
        clips.look(3)
    with pytest.raises(SlotlabError, match="there is no slot 4: the slots are 0 to 3"):
        clips.mix(picks(seen, 4))
    if clips.history is None:
        with pytest.raises(
            SlotlabError, match="the clips have 12 frames, and the model foretells none beyond"
        ):
            clips.mix(picks(seen, 0), 13)
