"""The slot-slot contrast: an independent transcription, and what it is mean over."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import AuxiliaryContext, Decoded, Grouped, ModelOutput, Slots
from slotlab.plugins.auxiliaries.slot_contrast import SlotContrast, SlotContrastConfig
from slotlab.registry import ComponentError

CLIPS, FRAMES, SLOTS, DIM = 3, 4, 5, 6


def build(**settings: Any) -> SlotContrast:
    told = AuxiliaryContext(image_size=(4, 4), num_slots=SLOTS, slot_dim=DIM, token_dim=DIM, grid=(2, 2))
    return SlotContrast(SlotContrastConfig.model_validate(settings), told)


def passed(vectors_BKD: Tensor, frames: int = FRAMES) -> ModelOutput:
    images, attention = vectors_BKD.new_zeros(len(vectors_BKD), 3, 4, 4), vectors_BKD.new_zeros(1, SLOTS, 4)
    return ModelOutput(
        images_BCHW=images,
        features_BCHW=images,
        tokens_BND=images[:, :, 0],
        initial=Slots(vectors_BKD),
        grouped=Grouped(Slots(vectors_BKD), attention),
        decoded=Decoded(images),
        target_BCHW=images,
        grid=(2, 2),
        frames=frames,
    )


def some_slots() -> Tensor:
    stream = Generator().manual_seed(0)
    return torch.randn(CLIPS * FRAMES, SLOTS, DIM, generator=stream, dtype=torch.float64).requires_grad_()


def transcribed(vectors_BKD: Tensor, *, batch: bool) -> Tensor:
    """Written slot by slot: each slot of t + 1 asks which slot of t it was."""
    length = vectors_BKD.norm(dim=2, keepdim=True)
    slots = (vectors_BKD / length).reshape(CLIPS, FRAMES, SLOTS, DIM)
    asked = []
    for clip in range(CLIPS):
        for frame in range(FRAMES - 1):
            before = slots[:, frame].reshape(-1, DIM) if batch else slots[clip, frame]
            for slot in range(SLOTS):
                place = clip * SLOTS + slot if batch else slot
                logits = before @ slots[clip, frame + 1, slot] / 0.1
                asked.append(-torch.log(torch.exp(logits[place]) / torch.exp(logits).sum()))
    return torch.stack(asked).mean()


@pytest.mark.parametrize(("among", "training"), [("batch", True), ("clip", True), ("batch", False)])
def test_loss_and_gradient_are_those_of_another_transcription(among: str, training: bool) -> None:
    vectors = some_slots()
    found = build(among=among).train(training)(passed(vectors)).total
    wanted = transcribed(vectors, batch=among == "batch" and training)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    ours, theirs = (torch.autograd.grad(one, vectors, retain_graph=True)[0] for one in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_slots_that_stay_have_a_smaller_loss_than_slots_that_swap() -> None:
    still = F.one_hot(torch.arange(SLOTS), DIM).double().expand(CLIPS * FRAMES, -1, -1).clone()
    swapped = still.clone()
    swapped[1::2] = still[1::2].flip(1)
    loss = build(among="clip")
    assert loss(passed(still)).total < 0.01 < loss(passed(swapped)).total


def test_one_frame_is_refused() -> None:
    with pytest.raises(ComponentError) as caught:
        build()(passed(some_slots(), frames=1))
    text = "compares the slots of neighboring frames, and there is one; write 'data.clip' with two or more, and take"
    assert str(caught.value).startswith(text)
