"""Composition: laws of slots that are mixed, changed and drawn, and of the pictures they make."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from slotlab.framework.composition import (
    Clusters,
    Composer,
    at,
    build_library,
    duplicate,
    generate,
    interpolate,
    join,
    mix,
    remove,
    stack,
)
from slotlab.framework.composition.composer import Composed, missing_parts
from slotlab.framework.composition.drawn_modes import spaced
from slotlab.framework.composition.library import Library
from slotlab.framework.composition.modes import CHOICE
from slotlab.framework.contracts import Decoded, Slots
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.evaluation.evaluate import model_outcome
from slotlab.framework.model.build import build_model
from slotlab.framework.randomness import seeds
from slotlab.framework.randomness.seeds import painting
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

Specs = Callable[..., ExperimentSpec]
CPU = torch.device("cpu")


def composer_of(spec: ExperimentSpec, **parts: Any) -> Composer:
    """Return the composer of an untrained model, with some of its parts replaced."""
    model = build_model(spec)
    for name, part in parts.items():
        setattr(model, name, part)
    loaded = LoadedSpec(spec, None, None, Path("spec.yaml"))  # type: ignore[arg-type]
    return Composer.of(loaded, model, device=CPU)


@pytest.fixture
def small(tiny: Specs) -> Specs:
    """Return a function that makes the small spec on seven training and five validation images."""

    def make(**changes: Any) -> ExperimentSpec:
        plain = {"textures": ["plain"], "ground_textures": ["plain"], "max_objects": 2, "min_objects": 1}
        dataset = {"name": "scenes", "num_train": 7, "num_val": 5, **plain}
        return tiny(**changes, data={"dataset": dataset})

    return make


def slots(batch: int = 2, number: int = 4, seed: int = 0) -> Slots:
    """Random slots with a pose and a whole number each."""
    stream = torch.Generator().manual_seed(seed)
    return Slots(
        torch.randn(batch, number, 8, generator=stream),
        {
            "pose": torch.randn(batch, number, 2, 2, generator=stream),
            "kind": torch.randint(0, 99, (batch, number), generator=stream),
        },
    )


def same(first: Slots, second: Slots) -> bool:
    return torch.equal(first.vectors_BKD, second.vectors_BKD) and all(
        torch.equal(extra, second.extras[name]) for name, extra in first.extras.items()
    )


# --- slots -------------------------------------------------------------------------------


def test_all_of_one_and_none_of_the_other_changes_nothing() -> None:
    a, b = slots(seed=0), slots(seed=1)
    assert same(mix(a, range(4), b, []), a)
    assert same(mix(a, [], b, range(4)), b)


def test_mixing_is_choosing_and_joining() -> None:
    a, b = slots(seed=0), slots(seed=1)
    mixed = mix(a, [3, 0], b, [2])
    assert same(mixed, join(a.select(torch.tensor([3, 0])), b.select(torch.tensor([2]))))
    assert mixed.extras["pose"].shape == (2, 3, 2, 2)


def test_images_can_be_taken_apart_and_put_together() -> None:
    a = slots(batch=3)
    assert same(stack([at(a, [0]), at(a, [1, 2])]), a)
    assert same(at(a, [2, 0]), stack([at(a, [2]), at(a, [0])]))


@pytest.mark.parametrize("index", range(4))
def test_removing_a_duplicate_restores(index: int) -> None:
    a = slots()
    doubled = duplicate(a, index)
    assert same(doubled.select(torch.tensor([4])), a.select(torch.tensor([index])))
    assert same(remove(doubled, [4]), a)


def test_a_duplicate_can_go_into_another_image() -> None:
    a, b = slots(seed=0), slots(seed=1)
    added = duplicate(a, 1, b)
    assert same(remove(added, [4]), b)
    assert same(added, mix(b, range(4), a, [1]))


def test_removing_is_keeping_the_others() -> None:
    a = slots()
    assert same(remove(a, [0, 2]), a.select(torch.tensor([1, 3])))
    assert same(remove(a, []), a)


def test_interpolation_starts_and_ends_at_slots() -> None:
    a, b = slots(seed=0), slots(seed=1)
    assert same(interpolate(a, 1, b, 3, 0.0), a)
    there = interpolate(a, 1, b, 3, 1.0)
    assert same(there.select(torch.tensor([1])), b.select(torch.tensor([3])))
    assert same(remove(there, [1]), remove(a, [1]))
    half = interpolate(a, 1, b, 3, 0.5)
    torch.testing.assert_close(half.vectors_BKD[:, 1], (a.vectors_BKD[:, 1] + b.vectors_BKD[:, 3]) / 2)
    torch.testing.assert_close(
        half.extras["pose"][:, 1], (a.extras["pose"][:, 1] + b.extras["pose"][:, 3]) / 2
    )
    assert torch.equal(interpolate(a, 1, b, 3, 0.4).extras["kind"], a.extras["kind"])
    assert same(a, slots(seed=0)), "the slots themselves are left as they were"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: mix(a, [0, 4], a, []), "there is no slot 4: the slots are 0 to 3"),
        (lambda a: remove(a, [-1]), "there is no slot -1: the slots are 0 to 3"),
        (lambda a: duplicate(a, 7), "there is no slot 7: the slots are 0 to 3"),
        (lambda a: interpolate(a, 0, a, 9, 0.5), "there is no slot 9: the slots are 0 to 3"),
        (lambda a: mix(a, [], a, []), "no slot is kept of either image; keep at least one"),
        (lambda a: remove(a, range(4)), "no slot is left; remove fewer"),
        (
            lambda a: join(a, Slots(a.vectors_BKD)),
            "slots of different models: to each slot belongs kind, pose and nothing",
        ),
    ],
)
def test_slots_that_cannot_be(change: Callable[[Slots], Slots], text: str) -> None:
    with pytest.raises(SlotlabError) as error:
        change(slots())
    assert str(error.value) == text


# --- pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize("initializer", ["gaussian", "learnable"])
def test_the_composers_slots_are_those_of_the_evaluation(small: Specs, initializer: str) -> None:
    composer = composer_of(small(model={"initializer": initializer}))
    seen = composer.look("val", [3, 1])
    outcome = model_outcome(composer.spec, composer.model, seen.batch, positions=[3, 1])
    assert outcome.reconstructions_BCHW is not None
    expected_BCHW = to_uint8(outcome.reconstructions_BCHW, composer.spec.data.bounds)
    a, b = at(seen.slots, [0]), at(seen.slots, [1])
    assert torch.equal(composer.decode(mix(a, range(3), b, [])).images_BCHW, expected_BCHW[:1])
    assert torch.equal(composer.decode(mix(a, [], b, range(3))).images_BCHW, expected_BCHW[1:])


def test_the_order_of_slots_changes_no_picture(small: Specs) -> None:
    composer = composer_of(small())
    seen = composer.look("val", [0, 4])
    order = torch.tensor([2, 0, 1])
    straight, turned = composer.decode(seen.slots), composer.decode(seen.slots.select(order))
    near(straight.images_BCHW, turned.images_BCHW)
    assert straight.masks_BKHW is not None
    assert turned.masks_BKHW is not None
    torch.testing.assert_close(straight.masks_BKHW[:, order], turned.masks_BKHW)


def test_two_of_a_slot_share_its_mask(small: Specs) -> None:
    composer = composer_of(small())
    doubled = composer.decode(duplicate(composer.look("val", [0]).slots, 1)).masks_BKHW
    assert doubled is not None
    torch.testing.assert_close(doubled[:, 1], doubled[:, 3])
    torch.testing.assert_close(doubled.sum(dim=1), torch.ones(1, 8, 8))


def test_cutouts_lie_on_their_ground(small: Specs) -> None:
    composed = composer_of(small()).decode(slots(batch=1, number=3))
    white, black = composed.cutouts(), composed.cutouts(ground=0.0)
    assert composed.masks_BKHW is not None
    assert composed.parts_BKCHW is not None
    assert white is not None
    assert black is not None
    mask = composed.masks_BKHW[:, :, None]
    near(black, mask * composed.parts_BKCHW)
    near(white, mask * composed.parts_BKCHW + (1 - mask) * 255)
    near(black.float().sum(dim=1), composed.images_BCHW, by=2)


def test_cutouts_are_rounded_to_the_nearest_gray() -> None:
    picture = torch.zeros(1, 3, 1, 4, dtype=torch.uint8)
    masks = torch.tensor([[[[0.0, 0.1, 0.25, 1.0]]]])
    parts = torch.tensor([[10, 20, 30, 40]], dtype=torch.uint8).expand(1, 1, 3, 1, 4)
    made = Composed(picture, masks, parts)
    for ground, wanted in ((1.0, [255, 232, 199, 40]), (0.0, [0, 2, 8, 40]), (0.5, [128, 117, 103, 40])):
        found = made.cutouts(ground)
        assert found is not None
        assert found[0, 0, 0, 0].tolist() == wanted  # 231.5, 198.75; 7.5; 127.5, 116.75 and 103.125
    assert Composed(picture, masks).cutouts() is None


@pytest.mark.parametrize(("number", "most"), [(5, 9), (5, 5), (5, 1), (5, 2), (50, 7), (1000, 10), (3, 2)])
def test_steps_are_spread_evenly_from_the_first_to_the_last(number: int, most: int) -> None:
    """A single one is the last: what comes of all the others."""
    found = spaced(number, most)
    assert len(found) == min(number, most)
    assert found[-1] == number - 1
    assert most == 1 or found[0] == 0
    gaps = [after - before for before, after in pairwise(found)]
    assert all(gap >= 1 for gap in gaps)
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


def near(first: Tensor, second: Tensor, by: float = 1) -> None:
    """Compare pictures up to the rounding of a pixel."""
    assert (first.float() - second.float()).abs().max() <= by


def test_images_that_are_not_there(small: Specs) -> None:
    composer = composer_of(small())
    for ask, text in (
        (lambda: composer.look("val", [0, 5]), "split 'val' has no image 5: they are 0 to 4"),
        (
            lambda: composer.look("vall", [0]),
            "'scenes' has no split 'vall'; did you mean 'val'? (splits: train, val, test)",
        ),
        (
            lambda: composer.folder("x"),
            "the model belongs to no run folder; choose one with --out DIR",
        ),
    ):
        with pytest.raises(SlotlabError) as error:
            ask()  # type: ignore[no-untyped-call]
        assert str(error.value) == text


# --- decoders of other kinds -------------------------------------------------------------


class Plain(torch.nn.Module):
    """A decoder of pictures alone: the mean of all slots, on a plain picture."""

    def forward(self, slots: Slots, **options: Any) -> Decoded:
        if slots.vectors_BKD.shape[1] == 2:
            raise ValueError("two are too few")
        return Decoded(slots.vectors_BKD.mean(dim=(1, 2))[:, None, None, None].expand(-1, 3, 8, 8))


class Drawing(Plain):
    """A decoder that draws, and paints without the answer in another way than it is trained."""

    def sample(self, slots: Slots, *, generator: torch.Generator | None = None) -> Decoded:
        return Decoded(torch.randn(len(slots.vectors_BKD), 3, 8, 8, generator=generator))


def test_a_decoder_without_masks_and_parts_still_paints(small: Specs) -> None:
    composer = composer_of(small(evaluation={"mask_source": "attention"}), decoder=Plain())
    composed = composer.decode(composer.look("val", [0, 1]).slots)
    assert composed.images_BCHW.shape == (2, 3, 8, 8)
    assert composed.masks_BKHW is None
    assert composed.parts_BKCHW is None
    assert composed.cutouts() is None
    assert missing_parts(composer, composed) == (
        "the decoder 'spatial_broadcast' gives no masks and no pictures of single slots: "
        "what it lacks is left out"
    )
    assert missing_parts(composer, replace(composed, masks_BKHW=torch.ones(2, 3, 8, 8))) == (
        "the decoder 'spatial_broadcast' gives no pictures of single slots: what it lacks is left out"
    )


def test_a_decoder_that_draws_gives_each_picture_its_own_stream(small: Specs) -> None:
    composer = composer_of(small(), decoder=Drawing())
    together = composer.decode(slots(batch=3)).images_BCHW
    assert not torch.equal(together[0], together[1])
    for number in range(3):
        alone = composer.decode(at(slots(batch=3), [number]), positions=[number]).images_BCHW
        assert torch.equal(alone[0], together[number])
    assert not torch.equal(composer.decode(slots(batch=3), seed=1).images_BCHW, together)


def test_a_decoder_that_fails_says_on_how_many_slots(small: Specs) -> None:
    composer = composer_of(small(), decoder=Plain())
    with pytest.raises(SlotlabError) as error:
        composer.decode(slots(number=2))
    assert str(error.value).startswith(
        "the decoder 'spatial_broadcast' cannot paint 2 slots: ValueError: two are too few ("
    )


def test_predictions_that_are_no_images(small: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    composer = composer_of(small())
    monkeypatch.setattr(composer.model.objective, "to_image", lambda prediction_BCHW: None)
    with pytest.raises(SlotlabError) as error:
        composer.decode(slots())
    assert (
        str(error.value) == "the objective 'pixel_mse' predicts no images: slots cannot be shown as pictures"
    )


# --- the library and its clusters --------------------------------------------------------


def random_library(images: int = 30, number: int = 4, seed: int = 0) -> Library:
    return Library("val", range(images), images, slots(images, number, seed))


@pytest.mark.parametrize(("split", "size"), [("train", 7), ("val", 5)])
def test_the_library_holds_every_slot_once(small: Specs, split: str, size: int) -> None:
    composer = composer_of(small())
    calls: list[tuple[int, int]] = []
    library = build_library(composer, split, report=lambda done, total: calls.append((done, total)))
    assert (library.positions, library.of) == (list(range(size)), size)
    found = composer.look(split, range(size)).slots.vectors_BKD
    torch.testing.assert_close(library.slots.vectors_BKD, found, rtol=1e-5, atol=1e-6)
    assert calls[-1] == (size, size)


def test_the_library_does_not_depend_on_the_batch_size(small: Specs) -> None:
    found = [
        build_library(composer_of(small(evaluation={"batch_size": size})), "val").slots.vectors_BKD
        for size in (1, 2, 5)
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)


def test_the_library_keeps_within_its_memory(small: Specs) -> None:
    composer = composer_of(small())
    each = 3 * 8 * 4  # slots, width, bytes
    library = build_library(composer, "train", memory=3 * each + 1)
    assert library.positions == [0, 2, 4]
    assert library.slots.vectors_BKD.nbytes <= 3 * each
    assert build_library(composer, "train", images=2).positions == [0, 3]
    assert build_library(composer, "train", memory=0).positions == [0], "at least one image"
    torch.testing.assert_close(library.slots.vectors_BKD, composer.look("train", [0, 2, 4]).slots.vectors_BKD)


@pytest.mark.parametrize("seed", [0, 5, 2**32 + 5])
def test_kmeans_is_scikit_learns(seed: int) -> None:
    from sklearn.cluster import KMeans

    library = random_library()
    clusters = Clusters.fit(library, count=3, seed=seed)
    means = KMeans(3, n_init=4, max_iter=1000, random_state=seed % 2**32)
    labels = means.fit_predict(library.slots.vectors_BKD.reshape(-1, 8).numpy())
    assert np.array_equal(clusters.labels_M.numpy(), labels)
    assert np.array_equal(clusters.centers_CD.numpy(), means.cluster_centers_)
    assert clusters.inertia == means.inertia_
    assert clusters.sizes == np.bincount(labels).tolist()


def test_each_cluster_gives_one_of_its_slots() -> None:
    library = random_library()
    clusters = Clusters.fit(library, count=3, seed=0)
    drawn = clusters.draw(range(50), seed=0)
    assert drawn.vectors_BKD.shape == (50, 3, 8)
    flat = library.slots.vectors_BKD.reshape(-1, 8)
    poses = library.slots.extras["pose"].reshape(-1, 2, 2)
    for picture, pose in zip(drawn.vectors_BKD, drawn.extras["pose"], strict=True):
        members = [(flat == vector).all(dim=1).nonzero().item() for vector in picture]
        assert [clusters.labels_M[member] for member in members] == [0, 1, 2]
        assert torch.equal(poses[members], pose), "what belongs to a slot comes with it"
    counts = torch.bincount(torch.unique(drawn.vectors_BKD[:, 0], dim=0, return_inverse=True)[1])
    assert len(counts) > 5, "different pictures have different slots"


def test_a_drawn_picture_does_not_depend_on_the_others() -> None:
    clusters = Clusters.fit(random_library(), count=3, seed=0)
    every = clusters.draw(range(10), seed=3)
    assert same(clusters.draw(range(4, 6), seed=3), at(every, [4, 5]))
    assert not same(clusters.draw(range(10), seed=4), every)


def test_slots_are_drawn_from_streams_that_nothing_else_draws_from() -> None:
    """Else a picture's slots would be bound to its noise, to that of a diffusion, or to the choice of images."""
    library = random_library(images=300)
    total = len(library.vectors_MD)
    clusters = Clusters(library, torch.zeros(total, dtype=torch.int64), torch.zeros(1, 8), 0.0)
    drawn = clusters.draw(range(6), seed=5).vectors_BKD[:, 0]
    for other in (5, seeds.mix(5, CHOICE), painting(5, [0], CPU)[0].initial_seed()):
        picks = [int(torch.randint(total, (), generator=one)) for one in seeds.streams(other, range(6), CPU)]
        assert (library.vectors_MD[picks] != drawn).any()


@pytest.mark.parametrize("initializer", ["gaussian", "learnable"])
def test_generated_pictures_depend_on_the_seed_alone(small: Specs, initializer: str) -> None:
    def pictures(batch_size: int, seed: int) -> Tensor:
        spec = small(model={"initializer": initializer}, evaluation={"batch_size": batch_size})
        composer = composer_of(spec)
        clusters = Clusters.fit(build_library(composer, "val"), count=3, seed=0)
        made = [one.images_BCHW for one in generate(composer, clusters, count=5, seed=seed)]
        assert [len(images) for images in made] == {1: [1] * 5, 2: [2, 2, 1], 5: [5]}[batch_size]
        return torch.cat(made)

    first = pictures(2, 0)
    assert torch.equal(first, pictures(2, 0))
    for size in (1, 5):
        near(first, pictures(size, 0))
    assert not torch.equal(first, pictures(2, 1))


def test_nothing_random_is_taken_from_torch(small: Specs) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    composer = composer_of(small(model={"initializer": "gaussian"}))
    list(generate(composer, Clusters.fit(build_library(composer, "val"), count=3, seed=0), count=3, seed=0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index,union-attr]


def test_clusters_that_cannot_be() -> None:
    with pytest.raises(SlotlabError) as error:
        Clusters.fit(random_library(images=2, number=2), count=5, seed=0)
    assert str(error.value) == "4 slots cannot make 5 clusters; take more images or fewer clusters"
    equal = Library("val", range(9), 9, Slots(torch.tensor([[0.0], [1.0]]).repeat(9, 1, 1)))
    with pytest.raises(SlotlabError) as error:
        Clusters.fit(equal, count=3, seed=0)
    assert str(error.value) == (
        "the 18 slots fall into 2 clusters and not 3: many are equal; ask for at most 2"
    )
