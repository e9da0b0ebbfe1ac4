"""Distillation from a teacher: parity with SPOT's formulas, whose masks and order they are, where the teacher is."""

import copy
import pickle
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import ModelOutput
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.spec.load import load_spec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.plugins.auxiliaries.attention_distill import AttentionDistill, match
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
SPEC = """
format: 1
name: small
data:
  dataset: {name: scenes, min_objects: 2, max_objects: 2, num_train: 4, num_val: 4, textures: [plain]}
  protocol: {name: whole, image_size: SIZE}
model:
  slots: SLOTS
  slot_dim: 8
  encoder: {name: cnn, channels: [6], kernel_size: 3, strides: [2]}
  initializer: gaussian
  grouping: {name: slot_attention, iterations: 2}
  decoder: {name: autoregressive, blocks: slate, layers: 1, heads: 2, orders: nine}
objective: feature_mse
AUXILIARY
training:
  batch_size: 2
  phases: [{steps: 2, lr: 0.01}]
evaluation: {baselines: [], mask_source: attention}
"""


def spec_file(
    folder: Path, name: str, *, slots: int = 4, size: int = 8, teacher: str | None = None, weight: float = 0.5
) -> Path:
    block = f"auxiliary: [{{name: attention_distill, weight: {weight}, teacher: {teacher}}}]"
    text = SPEC.replace("AUXILIARY", "" if teacher is None else block)
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("SLOTS", str(slots)).replace("SIZE", str(size)))
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained teacher."""
    folder = tmp_path_factory.mktemp("teacher")
    loaded = prepare(spec_file(folder, "teacher", slots=3)).loaded
    run_training(loaded, folder / "run", device=CPU, report=lambda progress: None)
    return folder / "run"


@pytest.fixture
def student(teacher: Path, tmp_path: Path) -> ExperimentSpec:
    """A spec with the teacher as an input."""
    return load_spec(spec_file(tmp_path, "student", teacher=f"{{run: {teacher}}}")).spec


def images(seed: int = 0) -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=Generator().manual_seed(seed)) * 2 - 1


def stream(seed: int = 1) -> Generator:
    return Generator().manual_seed(seed)


def loss_of(model: Any) -> AttentionDistill:
    found: AttentionDistill = model.auxiliary["attention_distill"].loss
    return found


def plain_match(labels_N: Tensor, attention_KN: Tensor, segments: int) -> dict[int, int]:
    """The assignment of teacher slots to student slots with the greatest total IoU, by trying all."""
    ours_N, slots = attention_KN.argmax(dim=0), len(attention_KN)

    def overlap(theirs: int, ours: int) -> float:
        a, b = labels_N == theirs, ours_N == ours
        return int((a & b).sum()) / max(1, int((a | b).sum()))

    best = max(
        permutations(range(slots), segments), key=lambda p: sum(overlap(j, k) for j, k in enumerate(p))
    )
    return dict(enumerate(best))


def plain_loss(labels_BN: Tensor, logits_BKN: Tensor, attention_BKN: Tensor, segments: int) -> Tensor:
    """SPOT's loss: of every token, minus the log of the softmax at the slot matched to its label."""
    found = []
    for labels_N, logits_KN, attention_KN in zip(labels_BN, logits_BKN, attention_BKN, strict=True):
        slot_of = plain_match(labels_N, attention_KN, segments)
        for n, label in enumerate(labels_N.tolist()):
            column_K = logits_KN[:, n]
            found.append(column_K.exp().sum().log() - column_K[slot_of[label]])
    return torch.stack(found).mean()


def test_loss_and_gradient_are_spots(student: ExperimentSpec) -> None:
    model = build_model(student).double()
    with torch.no_grad():
        for parameter in model.grouping.parameters():
            parameter.mul_(3)  # attention that differs between tokens
    output = model(images().double(), generator=stream())
    distill = loss_of(model)
    before = output.generator.get_state()
    found = distill(output).total
    output.generator.set_state(before)
    labels_BN, segments = distill.labels(output)
    assert segments == 3
    assert len(labels_BN.unique()) > 1
    trace = output.grouped.trace
    expected = plain_loss(labels_BN, trace.logits_BKN, output.grouped.attention_BKN, segments)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    weights = [p for p in model.parameters() if p.requires_grad]
    ours = torch.autograd.grad(found, weights, retain_graph=True, allow_unused=True)
    plain = torch.autograd.grad(expected, weights, allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in ours)
    for one, other in zip(ours, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_the_match_is_the_best_of_all(seed: int) -> None:
    draws = Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (2, 40), generator=draws)
    attention = torch.rand(2, 4, 40, generator=draws, dtype=torch.float64)
    matched = match(labels, attention, 3)
    for b in range(2):
        assert dict(enumerate(matched[b].tolist())) == plain_match(labels[b], attention[b], 3)


def test_names_of_the_students_slots_do_not_matter() -> None:
    draws = Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 40), generator=draws)
    attention, order = torch.rand(2, 4, 40, generator=draws), torch.tensor([2, 0, 3, 1])
    moved = match(labels, attention[:, order], 3)
    assert torch.equal(order[moved], match(labels, attention, 3))


def test_labels_are_the_decoders_masks_when_it_is_told_the_target_in_a_drawn_order(
    student: ExperimentSpec,
) -> None:
    """As in SPOT's code: teacher in evaluation mode, its decoder told the features, one of nine orders drawn."""
    model = build_model(student)
    distill, output = loss_of(model), model(images(), generator=stream())
    teacher = distill.teacher.module
    assert not teacher.training
    assert teacher.decoder.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    noise = output.generator.clone_state()
    labels, _ = distill.labels(output)
    again = teacher(output.images_BCHW, generator=noise)  # slots, then an order
    assert torch.equal(labels, again.decoded.masks_BKHW.argmax(dim=1).flatten(1))
    orders = set()
    for seed in range(12):
        masks = [
            teacher.decode(again.grouped.slots, target_BCHW=again.target_BCHW, generator=stream(s)).masks_BKHW
            for s in (seed, 0)
        ]
        orders.add(torch.equal(*masks))
    assert orders == {True, False}


def test_the_teachers_decoder_may_work_as_in_its_evaluation(teacher: Path, tmp_path: Path) -> None:
    path = spec_file(tmp_path, "student", teacher=f"{{run: {teacher}}}, decoder: evaluated")
    assert not loss_of(build_model(load_spec(path).spec)).teacher.module.decoder.training


def test_all_randomness_comes_from_the_pass(student: ExperimentSpec) -> None:
    model = build_model(student)
    before = torch.get_rng_state()
    first, again, other = (
        loss_of(model)(model(images(), generator=stream(seed))).total for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_loss_of_one_image_does_not_depend_on_its_batch(student: ExperimentSpec) -> None:
    model = build_model(student).eval()

    def loss(chosen: slice) -> Tensor:
        streams = [stream(i) for i in range(3)][chosen]
        found: Tensor = loss_of(model)(model(images()[chosen], generator=streams)).total
        return found

    alone = torch.stack([loss(slice(i, i + 1)) for i in range(3)])
    torch.testing.assert_close(loss(slice(0, 3)), alone.mean())


def test_the_teacher_is_in_no_checkpoint_and_goes_where_the_model_goes(student: ExperimentSpec) -> None:
    model = build_model(student)
    plain = build_model(student.model_copy(update={"auxiliary": ()}))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    output = model(images(), generator=stream())
    expected = loss_of(model).labels(replace(output, generator=stream()))[0]
    copied, read = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for other in (copied, read):
        labels, _ = loss_of(other).labels(replace(output, generator=stream()))
        assert torch.equal(labels, expected)
    assert loss_of(copied).teacher.module is loss_of(model).teacher.module, "such as an average of weights"
    assert loss_of(read).teacher.module is not loss_of(model).teacher.module
    teacher = loss_of(model.double()).teacher.module
    assert {p.dtype for p in teacher.parameters()} == {torch.float64}
    assert {p.device.type for p in loss_of(model.to("meta")).teacher.module.parameters()} == {"meta"}
    model.train()
    model.requires_grad_(True)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_training_leaves_the_teacher_as_it_was_and_follows_it(teacher: Path, tmp_path: Path) -> None:
    path = spec_file(tmp_path, "student", teacher=f"{{run: {teacher}}}", weight=5.0)
    run = run_training(prepare(path).loaded, tmp_path / "run", device=CPU, report=lambda progress: None)
    weights = run.load_weights("last").model
    plain = spec_file(tmp_path, "plain")
    alone = run_training(prepare(plain).loaded, tmp_path / "alone", device=CPU, report=lambda progress: None)
    other = alone.load_weights("last").model
    assert weights.keys() == other.keys()
    assert any(not torch.equal(weights[name], other[name]) for name in weights)
    log = [line for line in run.read_log() if line["kind"] == "train"]
    assert all(line["loss"] > 0 for line in log)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"slots": 2},
            "the teacher has 3 slots, which cannot all be matched to 2; train with at least as many",
        ),
        (
            {"size": 16},
            "the teacher was trained on images of 8x8 pixels in [-1, 1]; take the same protocol here",
        ),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    teacher: Path, tmp_path: Path, changes: dict[str, int], text: str
) -> None:
    spec = load_spec(spec_file(tmp_path, "student", teacher=f"{{run: {teacher}}}", **changes)).spec
    assert [str(problem) for problem in check_parts(spec)] == [
        f"auxiliary.0.teacher: attention_distill: {text}"
    ]
    with pytest.raises(SlotlabError, match=text.split(";")[-1]):
        build_model(spec)


def test_a_student_with_a_teacher_is_valid(student: ExperimentSpec) -> None:
    assert check_parts(student) == []


def test_a_teacher_without_masks_is_refused(student: ExperimentSpec) -> None:
    model = build_model(student)
    distill = loss_of(model)
    output: ModelOutput = model(images(), generator=stream())
    teacher = distill.teacher.module
    made = teacher.reconstruct
    teacher.reconstruct = lambda *args, **options: replace(made(*args, **options), decoded=None)
    with pytest.raises(SlotlabError, match="the teacher has no masks of its decoder; take another 'masks'"):
        distill(output)
