"""Laws of probes: permutations, floors, perfect slots, matching by brute force, average precision by plain loops."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slotlab.framework.arithmetic.matching import NOTHING
from slotlab.framework.contracts import Batch, Found, Reconstruction, Sample, Slots
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.probing import probe
from slotlab.framework.probing.attributes import UNSEEN, choose_attributes, targets_of
from slotlab.framework.probing.heads import fit, partners
from slotlab.framework.probing.images import (
    ProbedImages,
    find_images,
    found_in,
    mean_colors,
    overlaps,
    seen_objects,
)
from slotlab.framework.probing.probe import COLORS, SHUFFLED, Parts, metric_name, run_probe
from slotlab.framework.probing.property_task import PropertyTask, measure
from slotlab.framework.probing.set_prediction import (
    THRESHOLDS,
    Detections,
    SetTask,
    average_precision,
    detect,
    places_of,
    set_head,
    set_task,
)
from slotlab.framework.probing.settings import ProbeSettings
from slotlab.framework.runs.folder import MODEL
from slotlab.registry import SlotlabError

SHAPES = ("cone", "cube", "ring")
QUICK = ProbeSettings(heads=("linear",), steps=240, check_every=60, lr=0.03, batch_size=32, patience=0)


def stay(column: float, row: float) -> tuple[float, float]:
    return column, row


def perfect(images: int, seed: int, slots: int = 4) -> ProbedImages:
    """Images whose slots say everything of an object: its shape, one-hot, and its place; the last is empty."""
    draw = np.random.default_rng(seed)
    objects, vectors, overlap = [], torch.zeros(images, slots, 6), torch.zeros(images, 3, slots)
    for image in range(images):
        count = int(draw.integers(1, 4))
        order = draw.permutation(slots)
        facts = []
        for number in range(count):
            shape, place = int(draw.integers(3)), draw.uniform(-3, 3, 3)
            facts.append({"index": number + 1, "shape": SHAPES[shape], "3d_coords": place.tolist()})
            vectors[image, order[number], shape] = 1.0
            vectors[image, order[number], 3:] = torch.tensor(place)
            overlap[image, number, order[number]] = 1.0
        objects.append(tuple(facts))
    return ProbedImages(
        ids=tuple(f"{seed}-{number}" for number in range(images)),
        slots_NKD=vectors,
        kept_NK=torch.ones(images, slots, dtype=torch.bool),
        objects=tuple(objects),
        overlap_NTK=overlap[:, : max(map(len, objects))],
        colors_NK3=torch.zeros(images, slots, 3),
    )


def parts(fit: int = 120) -> Parts:
    return Parts(perfect(fit, 0), perfect(40, 1), perfect(60, 2))


def means(result: Any, method: str, metric: str) -> float:
    rows = result.rows[method]
    weights = [row[f"{metric}_weight"] for row in rows]
    return float(np.average([row[metric] for row in rows], weights=weights))


def test_perfect_slots_are_read_and_floors_are_not() -> None:
    result = run_probe(parts(), QUICK.model_copy(update={"set_prediction": False}), stay)
    assert result.attributes_left_out == {"index": "it numbers the objects"}
    for matching in ("mask", "loss"):
        assert means(result, MODEL, metric_name("shape", "linear", matching)) == 1.0
        assert means(result, MODEL, metric_name("3d_coords", "linear", matching)) > 0.99
    for floor in (SHUFFLED, COLORS):
        assert means(result, floor, "shape_linear_mask") < 0.5  # a third, and what the most frequent adds
        assert abs(means(result, floor, "3d_coords_linear_mask")) < 0.15
    # Matched by loss, slots of another image seem to know something: that is what the floor is for.
    assert means(result, SHUFFLED, "shape_linear_loss") > means(result, SHUFFLED, "shape_linear_mask")


def test_the_order_of_slots_changes_nothing() -> None:
    def turned(part: ProbedImages) -> ProbedImages:
        order = torch.stack(
            [torch.randperm(4, generator=torch.Generator().manual_seed(i)) for i in range(len(part))]
        )
        rows = torch.arange(len(part))[:, None]
        assert part.overlap_NTK is not None
        overlap_NTK = part.overlap_NTK.gather(2, order[:, None].expand(-1, part.overlap_NTK.shape[1], -1))
        return replace(part, slots_NKD=part.slots_NKD[rows, order], overlap_NTK=overlap_NTK)

    settings = QUICK.model_copy(
        update={"floors": False, "set_prediction": False, "steps": 60, "check_every": 20}
    )
    plain, other = run_probe(parts(60), settings, stay), run_probe(parts(60).each(turned), settings, stay)
    for one, again in zip(plain.rows[MODEL], other.rows[MODEL], strict=True):
        assert one.pop("id") == again.pop("id")
        assert again == pytest.approx(one, abs=1e-4)


def test_shuffled_slots_are_all_of_another_image() -> None:
    part = replace(perfect(7, 0), slots_NKD=torch.arange(7.0)[:, None, None].expand(7, 4, 6))
    for seed in range(5):
        mixed = part.shuffled(seed).slots_NKD[:, 0, 0]
        assert (mixed != torch.arange(7.0)).all()
        assert sorted(mixed.tolist()) == list(range(7))


def task_of(part: ProbedImages, partner_NT: Tensor | None = None) -> PropertyTask:
    attributes, _ = choose_attributes(part.objects, ProbeSettings(), stay)
    targets = targets_of(part.objects, part.there_NT, attributes, stay)
    return PropertyTask(part.slots_NKD, part.kept_NK, targets, attributes, partner_NT)


def test_costs_and_their_matching_equal_brute_force() -> None:
    part = perfect(12, 3)
    part.kept_NK[5, 2] = False
    task = task_of(part)
    rows_B = torch.arange(12)
    outputs_BKO = torch.randn(12, 4, task.outputs, generator=torch.Generator().manual_seed(0))
    cost_BTK = task.cost(outputs_BKO, rows_B)
    found_BT = partners(task, cost_BTK, rows_B)
    by_name = {one.name: one for one in task.attributes}
    for image, facts in enumerate(part.objects):
        costs = {}
        for t, one in enumerate(facts):
            for k in range(4):
                shape, place = outputs_BKO[image, k, :3], outputs_BKO[image, k, 3:]
                entropy = -torch.log(shape.exp() / shape.exp().sum())[SHAPES.index(one["shape"])]
                true = [
                    (value - m) / s
                    for value, m, s in zip(
                        one["3d_coords"], by_name["3d_coords"].mean, by_name["3d_coords"].std, strict=True
                    )
                ]
                costs[t, k] = float(
                    entropy + sum((p - v) ** 2 for p, v in zip(place.tolist(), true, strict=True))
                )
                assert float(cost_BTK[image, t, k]) == pytest.approx(costs[t, k], rel=1e-4)
        usable = [k for k in range(4) if part.kept_NK[image, k]]
        best = min(
            permutations(usable, len(facts)), key=lambda ks: sum(costs[t, k] for t, k in enumerate(ks))
        )
        assert found_BT[image].tolist() == [*best, *[NOTHING] * (found_BT.shape[1] - len(facts))]


def test_an_object_without_a_slot_is_wrong_and_r2_is_that_of_all_objects() -> None:
    part = perfect(30, 4)
    partner_NT = torch.where(part.there_NT, torch.arange(part.there_NT.shape[1]), torch.tensor(NOTHING))
    partner_NT[0] = NOTHING
    task = task_of(part, partner_NT)
    torch.manual_seed(0)
    head = nn.Linear(6, task.outputs)
    found = measure(task, head)
    values_N, weights_N = found["3d_coords"]
    predicted = head(part.slots_NKD).detach()[..., 3:].double()
    target = task.targets.values["3d_coords"].double()
    pairs = [
        (torch.zeros(3) if n == 0 else predicted[n, t], target[n, t])
        for n, facts in enumerate(part.objects)
        for t in range(len(facts))
    ]
    guess, true = (torch.stack([pair[side].double() for pair in pairs]) for side in (0, 1))
    r2 = 1 - (guess - true).square().sum(0) / (true - true.mean(0)).square().sum(0)
    assert float((values_N * weights_N).sum() / weights_N.sum()) == pytest.approx(float(r2.mean()))
    assert float(found["shape"][0][0]) == 0.0


def test_fitting_stops_by_the_present_validation_loss() -> None:
    """A mean over all looks so far, 1.0, 0.75, 0.733, 0.725 ..., would go on and keep a later head."""
    losses = [1.0, 0.5, 0.7, 0.7, 0.7, 0.1]
    task = task_of(perfect(20, 0))
    looks: list[Tensor] = []
    head = nn.Linear(6, task.outputs)

    def look(head: nn.Module) -> float:
        looks.append(next(head.parameters()).detach().clone())
        return losses[len(looks) - 1]

    settings = ProbeSettings(steps=600, check_every=100, patience=3)
    found = fit(head, task, task, settings, min_delta=0.01, look=look)
    assert (found.steps, found.best_step, found.loss) == (500, 200, 0.5)
    assert torch.equal(next(head.parameters()), looks[1])


def test_a_loss_that_creeps_is_no_progress() -> None:
    """It falls with every look, by less than `min_delta` each time and by more since the last progress."""
    task = task_of(perfect(20, 0))
    settings = ProbeSettings(steps=2_000, check_every=100, patience=3)

    def fitted(falls: float) -> tuple[int, int]:
        losses = iter(1.0 - falls * number for number in range(1, 21))
        found = fit(
            nn.Linear(6, task.outputs), task, task, settings, min_delta=0.01, look=lambda _: next(losses)
        )
        return found.steps, found.best_step

    assert fitted(0.001) == (400, 400), "three looks after the first, all kept as the lowest"
    assert fitted(0.004) == (2_000, 2_000), "every third look is progress"


def test_a_class_that_was_never_fitted_costs_nothing() -> None:
    task = task_of(perfect(6, 1))
    outputs_BKO = torch.randn(6, 4, task.outputs, generator=torch.Generator().manual_seed(0))
    rows_B = torch.arange(6)
    shapes = [one for one in task.attributes if one.name == "shape"]
    only = replace(task, attributes=shapes)
    part_BKO = outputs_BKO[:, :, : only.outputs]
    before = only.cost(part_BKO, rows_B)
    assert (before[task.there_NT] > 0).all()
    unseen = {**task.targets.values, "shape": torch.full_like(task.targets.values["shape"], UNSEEN)}
    after = replace(only, targets=replace(task.targets, values=unseen)).cost(part_BKO, rows_B)
    assert not after.any()


def test_a_dropped_slot_detects_nothing() -> None:
    images = perfect(8, 2)
    properties = [one for one in task_of(images).attributes if one.name == "shape"]
    targets = targets_of(images.objects, images.there_NT, properties, stay)
    places = places_of(images.objects)
    assert places is not None
    kept = torch.rand(8, 4, generator=torch.Generator().manual_seed(3)) < 0.5
    task = set_task(images.slots_NKD, kept, places, targets, properties)
    found = detect(task, set_head(6, task.outputs, 0), places, targets, properties)
    assert torch.equal(found.confidence_NK == -torch.inf, ~kept)
    assert ((found.confidence_NK > 0) == kept).all()


def plain_precision(found: Detections, threshold: float) -> float:
    """Average precision by the words of its definition: a sum over recalls of the best precision from there on."""
    listed = [
        (float(found.confidence_NK[n, k]), n, k)
        for n in range(len(found.there_NT))
        for k in range(found.confidence_NK.shape[1])
        if found.confidence_NK[n, k] > -torch.inf
    ]
    objects, taken, points, hits = int(found.there_NT.sum()), set(), [], 0
    for place, (_, n, k) in enumerate(sorted(listed, key=lambda item: -item[0]), start=1):
        best, nearest = None, None
        for t in range(found.there_NT.shape[1]):
            if found.there_NT[n, t] and torch.equal(found.true_classes_NTA[n, t], found.classes_NKA[n, k]):
                distance = float((found.true_places_NT3[n, t] - found.places_NK3[n, k]).norm())
                if best is None or distance < best:
                    best, nearest = distance, t
        if best is not None and best < threshold and (n, nearest) not in taken:
            taken.add((n, nearest))
            hits += 1
        points.append((hits / objects, hits / place))
    total, before = 0.0, 0.0
    for recall, _ in points:
        if recall > before:
            total += (recall - before) * max(p for r, p in points if r >= recall)
            before = recall
    return total


def test_average_precision_equals_plain_loops() -> None:
    stream = torch.Generator().manual_seed(3)
    there_NT = torch.rand(9, 4, generator=stream) < 0.6
    true_NT3 = torch.rand(9, 4, 3, generator=stream)
    classes_NTA = torch.randint(0, 2, (9, 4, 2), generator=stream)
    classes_NTA[0, 0] = UNSEEN
    confidence_NK = torch.rand(9, 5, generator=stream)
    confidence_NK[2, 1] = -torch.inf
    found = Detections(
        places_NK3=torch.rand(9, 5, 3, generator=stream),
        classes_NKA=torch.randint(0, 2, (9, 5, 2), generator=stream),
        confidence_NK=confidence_NK,
        true_places_NT3=true_NT3,
        true_classes_NTA=classes_NTA,
        there_NT=there_NT,
    )
    values = [average_precision(found, at) for at in THRESHOLDS]
    assert values == pytest.approx([plain_precision(found, at) for at in THRESHOLDS])
    assert values[0] is not None
    assert 0 < values[0] < 1
    assert values == sorted(values, reverse=True)


def test_set_targets_are_places_one_hot_and_presence() -> None:
    part = perfect(3, 5, slots=6)
    task = task_of(part)
    places = places_of(part.objects)
    assert places is not None
    made = set_task(part.slots_NKD, part.kept_NK, places, task.targets, task.attributes[:1])
    assert made.numbers_NTO.shape == (3, 6, 7)
    for image, facts in enumerate(part.objects):
        for t, one in enumerate(facts):
            hot = [float(one["shape"] == name) for name in SHAPES]
            wanted = [*(value / 6 + 0.5 for value in one["3d_coords"]), *hot, 1.0]
            assert made.numbers_NTO[image, t].tolist() == pytest.approx(wanted, abs=1e-6)
        assert not made.numbers_NTO[image, len(facts) :].any()


def test_the_cost_of_a_pair_is_the_mean_huber_loss_of_its_numbers() -> None:
    """Half the square of an error up to 1, and beyond as much as a line."""
    numbers_NTO = torch.tensor([[[0.0, 1.0, 0.5, 1.0], [0.0] * 4]])
    outputs_BKO = torch.tensor([[[0.5, 1.0, 3.5, 0.0], [0.0] * 4, [1.0, 1.0, 0.5, 1.0]]])
    task = SetTask(torch.zeros(1, 3, 2), torch.ones(1, 3, dtype=torch.bool), numbers_NTO)
    found = task.cost(outputs_BKO, torch.tensor([0]))
    wanted = [[0.125 + 2.5 + 0.5, 0.5 + 0.125 + 0.5, 0.5], [0.125 + 0.5 + 3.0, 0.0, 0.5 * 3 + 0.125]]
    assert found[0].tolist() == pytest.approx(np.array(wanted) / 4)


def test_sets_are_detected_with_perfect_slots() -> None:
    settings = QUICK.model_copy(update={"heads": (), "matchings": ("loss",), "steps": 600})
    result = run_probe(parts(), settings, stay)
    found, floor = result.precisions[MODEL], result.precisions[SHUFFLED]
    assert found["ap_inf"] is not None
    assert floor["ap_inf"] is not None
    assert found["ap_inf"] > 0.9
    assert floor["ap_inf"] < 0.6
    assert found["ap_1"] >= found["ap_0.125"]


def test_overlaps_and_colors_by_hand() -> None:
    true = torch.tensor([[[1, 1], [2, -1]]])
    masks = torch.tensor([[[[0.8, 0.6], [0.1, 1.0]], [[0.2, 0.4], [0.9, 0.0]]]])
    objects = [[{"index": 2}, {"index": 1}]]
    cosine = overlaps(true, masks, objects, "cosine")[0]
    first = (0.8**2 + 0.6**2 + 0.1**2) ** 0.5
    assert cosine[1, 0] == pytest.approx(1.4 / (2**0.5 * first))
    assert cosine[0, 1] == pytest.approx(0.9 / (0.2**2 + 0.4**2 + 0.9**2) ** 0.5)
    assert overlaps(true, masks, objects, "iou")[0].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    images = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]] * 3])
    assert mean_colors(images, masks)[0, :, 0].tolist() == pytest.approx([0.8 / 2.5, 0.2 / 1.5])


def test_objects_without_a_pixel_are_not_probed() -> None:
    batch = Batch(
        images_BCHW=torch.zeros(1, 3, 1, 2),
        masks_BHW=torch.tensor([[[0, 2]]]),
        ids=("a",),
        attributes=({"objects": [{"index": 1}, {"index": 2}]},),
    )
    assert seen_objects(batch) == (({"index": 2},),)
    assert len(seen_objects(replace(batch, masks_BHW=None))[0]) == 2


def test_what_belongs_to_a_slot_stands_behind_its_vector_by_name(tiny: Any) -> None:
    """In one order, whatever a model's: heads are fitted on one checkpoint and may be asked about another."""
    stream = torch.Generator().manual_seed(0)
    vectors, scale, position = (torch.randn(2, 4, width, generator=stream) for width in (6, 2, 3))
    shape, keep = torch.randn(2, 4, 2, 2, generator=stream), torch.tensor([[1.0, 0.0, 1.0, 1.0], [1.0] * 4])
    extras = {"scale": scale, "keep": keep, "position": position, "shape": shape, "number": torch.zeros(2, 4)}
    batch = Batch(images_BCHW=torch.zeros(2, 3, 4, 4), masks_BHW=None, ids=("a", "b"), attributes=({}, {}))
    for order in (list(extras), sorted(extras)):
        slots = Slots(vectors, {name: extras[name] for name in order})
        made = Reconstruction(Found(slots), None, None)
        plain, more = (
            found_in(tiny(), batch, made, ProbeSettings(extras=extras)) for extras in (False, True)
        )
        assert torch.equal(plain.slots_NKD, vectors)
        assert torch.equal(more.slots_NKD, torch.cat([vectors, position, scale, shape.flatten(2)], dim=2))
        assert torch.equal(more.kept_NK, keep > 0)


def test_kinds_are_read_from_values() -> None:
    facts = [
        {
            "index": i % 3 + 1,
            "shape": SHAPES[i % 3],
            "size": (0.4, 0.7)[i % 2],
            "mass": i * 0.37,
            "color": [i, 2 * i, 7],
            "rotation": i * 1.5,
            "pixel_coords": [i, i + 1, 5],
            "same": "x",
            "odd": {"a": 1},
        }
        for i in range(48)
    ]
    found, left_out = choose_attributes([facts], ProbeSettings(), "no size")
    assert {one.name: one.kind for one in found} == {
        "shape": "categorical",
        "size": "categorical",
        "mass": "numerical",
        "color": "numerical",
    }
    assert left_out == {
        "index": "it numbers the objects",
        "rotation": "it is an angle, whose squared error means little; name it to probe it all the same",
        "pixel_coords": "no size",
        "same": "all objects have the same value",
        "odd": "its values are neither names nor numbers, or lists of one length",
    }
    [size] = choose_attributes([facts], ProbeSettings(attributes=("size",), numerical=("size",)), stay)[0]
    assert (size.kind, size.mean) == ("numerical", (pytest.approx(0.55),))


@pytest.mark.parametrize(
    ("facts", "settings", "text"),
    [
        ([{"index": 1}], {}, "the data says nothing about its objects"),
        ([], {}, "the data says nothing about its objects"),
        ([{"shape": "a"}], {"attributes": ("shap",)}, "no attribute 'shap'"),
        (
            [{"shape": "a"}],
            {},
            "no attribute of the objects can be probed (shape: all objects have the same value)",
        ),
        ([{"shape": "a"}, {}], {"attributes": ("shape",)}, "'shape' cannot be probed: some objects lack it"),
    ],
)
def test_attributes_that_cannot_be_are_refused(facts: Any, settings: Any, text: str) -> None:
    with pytest.raises(SlotlabError) as error:
        choose_attributes([facts], ProbeSettings(**settings), stay)
    assert text in str(error.value)


def test_masks_that_are_not_there_are_told() -> None:
    bare = parts(20).each(lambda part: replace(part, overlap_NTK=None, colors_NK3=None))
    settings = QUICK.model_copy(update={"steps": 2, "set_prediction": False})
    result = run_probe(bare, settings, stay)
    assert set(result.left_out) == {"matching mask", COLORS}
    assert {one["matching"] for one in result.metrics.values()} == {"loss"}
    with pytest.raises(SlotlabError, match="cannot be matched by masks"):
        run_probe(bare, settings.model_copy(update={"matchings": ("mask",)}), stay)


def test_heads_are_never_tested_on_what_they_were_fitted_on() -> None:
    same = parts(20)
    with pytest.raises(SlotlabError, match="heads would be fitted on 20 of the 20 images"):
        run_probe(replace(same, test=same.fit), QUICK, stay)


def test_the_same_seed_gives_the_same_numbers() -> None:
    settings = QUICK.model_copy(update={"heads": ("mlp",), "steps": 20, "floors": False})
    one, other = (run_probe(parts(20), settings, stay).rows for _ in range(2))
    assert one == other


@pytest.mark.parametrize("fit", ["squash", "cover"])
@pytest.mark.parametrize("crop", [None, "square", 40, (3, 5, 44, 60)])
def test_a_place_moves_with_its_pixel(crop: Any, fit: Any) -> None:
    """A white square is found in the prepared image around the moved place of its center."""
    preparation = Preparation(size=(64, 64), crop=crop, fit=fit)
    image = torch.zeros(3, 50, 70, dtype=torch.uint8)
    image[:, 20:26, 30:36] = 255
    small = preparation(Sample(id="a", image_CHW=image)).sample.image_CHW[0].double()
    rows, columns = ((small.sum(side) * (torch.arange(64) + 0.5)).sum() / small.sum() for side in (1, 0))
    column, row = preparation.moved(33.0, 23.0, (50, 70))
    assert (float(columns), float(rows)) == pytest.approx((column, row), abs=0.6)


def test_batch_size_changes_no_slots(tiny: Any, noise_loader: Any) -> None:
    from slotlab.framework.model.build import build_model

    spec = tiny()
    model = build_model(spec)
    one, other = (
        find_images(spec, model, noise_loader(batch_size=size), [0, 2, 3], ProbeSettings()) for size in (1, 3)
    )
    assert one.ids == other.ids == ("n0", "n2", "n3")
    torch.testing.assert_close(one.slots_NKD, other.slots_NKD)


def test_floors_are_shuffled_by_the_seed() -> None:
    settings = QUICK.model_copy(update={"steps": 2, "set_prediction": False, "matchings": ("loss",)})

    def seeds(seed: int) -> list[int]:
        seen: list[int] = []
        shuffled = ProbedImages.shuffled
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                ProbedImages, "shuffled", lambda self, seed: (seen.append(seed), shuffled(self, seed))[1]
            )
            run_probe(parts(20), settings.model_copy(update={"seed": seed}), stay)
        return seen

    assert len(set(seeds(0))) == 1
    assert seeds(0) == seeds(0) != seeds(1)


def test_a_set_prediction_goes_on_as_long_as_it_falls_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss is far below that of the other heads, whose least fall would end it at once."""
    seen: list[tuple[str, float]] = []

    def noted(head: nn.Module, task: Any, validation: Any, settings: Any, *, min_delta: float) -> Any:
        seen.append((type(task).__name__, min_delta))
        return fit(head, task, validation, settings, min_delta=min_delta)

    monkeypatch.setattr(probe, "fit", noted)
    run_probe(parts(20), QUICK.model_copy(update={"steps": 2, "min_delta": 0.07, "floors": False}), stay)
    assert set(seen) == {("PropertyTask", 0.07), ("SetTask", 0.0)}
