"""Models that drop slots: the price empties them, and a dropped slot has no say in an image."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator

from slotlab.framework.contracts import KEEP, Found, Reconstruction, Slots
from slotlab.framework.model.build import build_model
from slotlab.framework.model.masks import labels_of
from slotlab.framework.spec.schema import ExperimentSpec

Specs = Callable[..., ExperimentSpec]
ADAPTIVE = {"name": "adaptive_slots", "grouping": {"name": "slot_attention", "iterations": 1}}


def stream(seed: int = 1) -> Generator:
    return Generator().manual_seed(seed)


def test_a_high_price_empties_a_model_and_none_does_not(tiny: Specs) -> None:
    spec = tiny(model={"grouping": ADAPTIVE}, auxiliary=[{"name": "sparsity", "weight": 100.0}])
    model = build_model(spec)
    images = torch.rand(8, 3, 8, 8, generator=stream())

    def kept(number: int) -> float:
        slots = model.eval().find_slots(images, generator=stream(number)).slots
        return float(slots.keep_BK.detach().mean())

    before, optimizer = kept(0), torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(30):
        found = model.train()(images, generator=stream(step))
        losses = model.auxiliary["sparsity"](found)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    assert before > 0.2
    assert kept(0) < 0.1


def test_what_an_image_keeps_does_not_depend_on_its_batch(tiny: Specs) -> None:
    model = build_model(tiny(model={"grouping": ADAPTIVE})).eval()
    images = torch.rand(4, 3, 8, 8, generator=stream())
    together = model.reconstruct(images, generator=[stream(i) for i in range(4)])
    alone = [model.reconstruct(images[i : i + 1], generator=[stream(i)]) for i in range(4)]
    keep = together.found.slots.keep_BK
    assert 0 < keep.sum() < keep.numel()
    assert torch.equal(keep, torch.cat([one.found.slots.keep_BK for one in alone]))
    masks = together.decoded.masks_BKHW
    assert torch.equal(masks[keep == 0], torch.zeros_like(masks[keep == 0]))
    first = masks[0].clone()
    changed = replace(together.found.slots, vectors_BKD=together.found.slots.vectors_BKD.clone())
    changed.vectors_BKD[keep == 0] = 7.0
    again = model.paint(changed).masks_BKHW
    torch.testing.assert_close(again[0], first, rtol=1e-3, atol=1e-3)


def test_no_pixel_belongs_to_a_dropped_slot_even_where_the_kept_ones_have_nothing() -> None:
    keep_BK = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    masks_BKHW = torch.zeros(3, 3, 2, 2)
    masks_BKHW[0, 2, 0, 0] = 0.5
    slots = Slots(torch.zeros(3, 3, 4), {KEEP: keep_BK})
    made = Reconstruction(Found(slots, torch.zeros(3, 3, 2, 2)), None, None, "")
    labels_BHW = labels_of(masks_BKHW, made)
    assert labels_BHW[0].tolist() == [[2, 1], [1, 1]]
    assert labels_BHW[1].unique().tolist() == [0]
    assert labels_BHW[2].unique().tolist() == [0], "all are dropped: one segment"
