"""Components that do not return what they promise are named before a training, or in an evaluation."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    Decoded,
    Grouped,
    Losses,
    Outcome,
    RawBatch,
    Sample,
    SetResult,
    Slots,
    TargetShape,
)
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.data.source import Source
from slotlab.framework.evaluation.evaluate import evaluate
from slotlab.framework.evaluation.rows import rows_of
from slotlab.framework.metrics.image_sets.compare_sets import measure_sets
from slotlab.framework.metrics.image_sets.feature_cache import Cache, RealImages
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.model.check import check_parts
from slotlab.framework.model.engine import Engine
from slotlab.framework.spec.identity import located_refs
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.rehearsal import rehearse
from slotlab.framework.training.state import random_state
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
Specs = Callable[..., ExperimentSpec]
Loaders = Callable[..., Loader]
Slotlab = Callable[..., tuple[int, str, str]]
GONE = object()


def put(spec: ExperimentSpec, **builds: Any) -> ExperimentSpec:
    """Let components, named by the last part of their path, build something else."""
    for path, ref in located_refs(spec):
        name = [part for part in path if isinstance(part, str)][-1]
        if name in builds:
            component = replace(ref.registered.component, build=builds[name])
            object.__setattr__(ref, "registered", replace(ref.registered, component=component))
    return spec


def around(spec: ExperimentSpec, kind: str, change: Callable[[Any], Any]) -> ExperimentSpec:
    """Let the component of a kind build what it does, changed."""
    [ref] = [ref for path, ref in located_refs(spec) if path[-1] == kind]
    plain = ref.registered.component.build
    return put(spec, **{kind: lambda config, context: change(plain(config, context))})


class Changed(nn.Module):
    """A part around another whose results are changed."""

    def __init__(self, inner: Any, change: Callable[..., Any]):
        super().__init__()
        self.inner, self.change = inner, change
        for name in ("channels", "grid", "fixed_num_slots"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def forward(self, *args: Any, **options: Any) -> Any:
        return self.change(self.inner(*args, **options))


class Sampling(Changed):
    """A decoder whose `sample` gives the changed result, and `forward` the plain one."""

    def forward(self, *args: Any, **options: Any) -> Any:
        return self.inner(*args, **options)

    def sample(self, slots: Slots, *, generator: Generator | None = None) -> Any:
        return self.change(self.inner(slots))


def with_decoded(**changes: Callable[[Any], Any]) -> Callable[[Decoded], Decoded]:
    return lambda decoded: replace(
        decoded, **{name: change(getattr(decoded, name)) for name, change in changes.items()}
    )


def double(x_BCHW: Tensor) -> Tensor:
    return torch.cat([x_BCHW, x_BCHW], dim=1)


# --- what shapes tell: found by `validate` --------------------------------------------------

WRONG_DECODED: list[tuple[str, Any, str]] = [
    ("a tensor", lambda decoded: decoded.prediction_BCHW, "{method} should return Decoded, not Tensor"),
    ("nothing", lambda decoded: None, "{method} should return Decoded, not NoneType"),
    (
        "one-channel parts",
        with_decoded(parts_BKCHW=lambda parts: parts[:, :, :1]),
        "parts{of}, each like the prediction, should have shape (2, 3, 3, 8, 8), not (2, 3, 1, 8, 8)",
    ),
    (
        "parts of another size",
        with_decoded(parts_BKCHW=lambda parts: parts[..., ::2, ::2]),
        "parts{of}, each like the prediction, should have shape (2, 3, 3, 8, 8), not (2, 3, 3, 4, 4)",
    ),
    (
        "masks stretched",
        with_decoded(masks_BKHW=lambda masks: masks[..., ::2]),
        "masks{of} should have shape (2, 3, 8, 8), not (2, 3, 8, 4)",
    ),
    (
        "larger masks",
        with_decoded(masks_BKHW=lambda masks: masks.repeat(1, 1, 2, 2)),
        "masks{of} should have shape (2, 3, 8, 8), not (2, 3, 16, 16)",
    ),
    (
        "masks in five axes",
        with_decoded(masks_BKHW=lambda masks: masks[:, :, None]),
        "masks{of} should have shape (2, 3, 8, 8), not (2, 3, 1, 8, 8)",
    ),
    (
        "a mask too many",
        with_decoded(masks_BKHW=double),
        "masks{of}, at each pixel, should have shape (2, 3), not (2, 6)",
    ),
    (
        "whole numbers",
        with_decoded(masks_BKHW=lambda masks: masks.round().long()),
        "masks{of} should be floating-point numbers, not torch.int64",
    ),
    (
        "a list of masks",
        with_decoded(masks_BKHW=list),
        "masks{of} should be a tensor of shape (2, 3, 8, 8), not list",
    ),
    (
        "six channels",
        with_decoded(prediction_BCHW=double),
        "the prediction{of} should have shape (2, 3, 8, 8), not (2, 6, 8, 8)",
    ),
]


@pytest.mark.parametrize(
    ("kind", "method", "of"), [(Changed, "forward", ""), (Sampling, "sample", " of sample")]
)
@pytest.mark.parametrize(
    ("change", "text"), [case[1:] for case in WRONG_DECODED], ids=[c[0] for c in WRONG_DECODED]
)
def test_what_a_decoder_gives(tiny: Specs, kind: Any, method: str, of: str, change: Any, text: str) -> None:
    spec = around(tiny(), "decoder", lambda inner: kind(inner, change))
    expected = f"model.decoder: spatial_broadcast: {text.format(method=method, of=of)}"
    assert [str(problem) for problem in check_parts(spec)] == [expected]


def test_a_decoder_without_gradient(tiny: Specs) -> None:
    def detached(decoded: Decoded) -> Decoded:
        return Decoded(decoded.prediction_BCHW.detach(), decoded.masks_BKHW.detach())  # type: ignore[union-attr]

    spec = around(tiny(), "decoder", lambda inner: Changed(inner, detached))
    text = "the prediction has no gradient: nothing could be learned from it"
    assert [str(problem) for problem in check_parts(spec)] == [f"model.decoder: spatial_broadcast: {text}"]
    only = with_decoded(prediction_BCHW=lambda prediction: prediction.detach())
    spec = around(tiny(), "decoder", lambda inner: Changed(inner, only))
    assert [str(problem) for problem in check_parts(spec)] == [f"model.decoder: spatial_broadcast: {text}"]


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        ("encoder", lambda x: [x], "features, by the encoder's channels and grid, should be a tensor of shape (2, 4, 8, 8), not list"),
        ("encoder", lambda x: x.long(), "features, by the encoder's channels and grid, should be floating-point numbers, not torch.int64"),
        ("initializer", lambda slots: slots.vectors_BKD, "forward should return Slots, not Tensor"),
        ("initializer", lambda slots: replace(slots, extras={"pose": torch.zeros(2, 2)}), "'pose' of the slots should be a tensor whose first axes are (2, 3), not (2, 2)"),
        ("initializer", lambda slots: replace(slots, extras={"pose": 1}), "'pose' of the slots should be a tensor whose first axes are (2, 3), not int"),
        ("initializer", lambda slots: replace(slots, extras=[]), "what belongs to slots should be a mapping, not list"),
        ("grouping", lambda grouped: (grouped.slots, grouped.attention_BKN), "forward should return Grouped, not tuple"),
        ("grouping", lambda grouped: Grouped(grouped.slots.vectors_BKD, grouped.attention_BKN), "the slots of Grouped should return Slots, not Tensor"),
        ("grouping", lambda grouped: Grouped(grouped.slots, None), "attention should be a tensor of shape (2, 3, 64), not NoneType"),
        ("grouping", lambda grouped: replace(grouped, slots=Slots(grouped.slots.vectors_BKD.detach())), "slots have no gradient: its weights would never be trained"),
        ("position", lambda x: x.sum(), "fails on images of 8x8 pixels: "),
    ],
)  # fmt: skip
def test_what_other_parts_give(tiny: Specs, kind: str, change: Any, text: str) -> None:
    spec = tiny()
    refs = [(path, ref) for path, ref in located_refs(spec) if path[-1] == kind and path[1] != "decoder"]
    [(path, ref)] = refs
    plain = ref.registered.component.build
    component = replace(ref.registered.component, build=lambda *told: Changed(plain(*told), change))
    object.__setattr__(ref, "registered", replace(ref.registered, component=component))
    [problem] = check_parts(spec)
    assert str(problem).startswith(f"{'.'.join(map(str, path))}: {ref.name}: {text}")


@pytest.mark.parametrize("kind", ["encoder", "initializer", "grouping", "decoder"])
def test_a_part_that_is_no_module(tiny: Specs, kind: str) -> None:
    class Plain:
        channels, grid, fixed_num_slots = 4, (8, 8), False

    spec = put(tiny(), **{kind: lambda config, context: Plain()})
    [problem] = check_parts(spec)
    assert str(problem).endswith(": what it builds should be a torch.nn.Module, not a Plain")
    assert str(problem).startswith(f"model.{kind}: ")


def test_another_number_of_slots_is_tried(tiny: Specs) -> None:
    class Stubborn(Changed):
        def forward(self, tokens_BND: Tensor, num_slots: Any = None, **options: Any) -> Any:
            return self.inner(tokens_BND, None, **options)

    def stubborn(spec: ExperimentSpec) -> ExperimentSpec:
        return around(spec, "initializer", lambda inner: Stubborn(inner, lambda slots: slots))

    assert check_parts(stubborn(tiny())) == []
    problems = [str(problem) for problem in check_parts(stubborn(tiny(evaluation={"slots": 5})))]
    assert problems == ["model.initializer: gaussian: slots should have shape (2, 5, 8), not (2, 3, 8)"]


class Objective:
    """A plain objective, with one thing wrong."""

    def __init__(self, wrong: str, side: int = 8):
        self.wrong, self.target_shape = wrong, TargetShape(3, (side, side))
        if wrong == "no to_image":
            self.to_image = GONE
            del self.to_image

    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Any:
        return None if self.wrong == "target" else images_BCHW

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Any:
        total = (decoded.prediction_BCHW - target_BCHW).square().mean()
        return {
            "a tensor": total,
            "detached": Losses(total.detach()),
            "a float": Losses(0.5),  # type: ignore[arg-type]
            "a term": Losses(total, {"pixels": decoded.prediction_BCHW}),
        }.get(self.wrong, Losses(total))

    def to_image(self, prediction_BCHW: Tensor) -> Any:
        return prediction_BCHW[:, :1] if self.wrong == "gray" else prediction_BCHW


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("target", "the target, by the objective's target_shape, should be a tensor of shape (2, 3, 8, 8), not NoneType"),
        ("a tensor", "loss should return Losses, not Tensor"),
        ("detached", "the loss has no gradient: nothing could be learned from it"),
        ("a float", "the loss should be a tensor of shape (), not float"),
        ("a term", "the term 'pixels' of the loss should have shape (), not (2, 3, 8, 8)"),
        ("gray", "what to_image makes of a prediction should have shape (2, 3, 8, 8), not (2, 1, 8, 8)"),
    ],
)  # fmt: skip
def test_what_an_objective_gives(tiny: Specs, wrong: str, text: str) -> None:
    spec = put(tiny(), objective=lambda config, context: Objective(wrong))
    assert [str(problem) for problem in check_parts(spec)] == [f"objective: pixel_mse: {text}"]
    assert check_parts(put(tiny(), objective=lambda config, context: Objective(""))) == []


class NoStep(torch.optim.SGD):
    def step(self, closure: Any) -> Any:  # type: ignore[override]
        raise AssertionError("not reached")


@pytest.mark.parametrize(
    ("builds", "text"),
    [
        ({"optimizer": lambda *told: "adam"}, "training.optimizer: adam: build should return Optimizer, not str"),
        ({"optimizer": lambda config, context: NoStep(context.params, context.lr)}, "training.optimizer: adam: fails in its first step: TypeError: "),
        ({"schedule": lambda *told: None}, "training.phases.0.schedule: constant: build should return LRScheduler, not NoneType"),
        ({"schedule": lambda config, context: torch.optim.lr_scheduler.ReduceLROnPlateau(context.optimizer)}, "training.phases.0.schedule: constant: fails in its first step: TypeError: "),
    ],
)  # fmt: skip
def test_what_optimizers_and_schedules_are(tiny: Specs, builds: Any, text: str) -> None:
    [problem] = check_parts(put(tiny(), **builds))
    assert str(problem).startswith(text)


# --- what values tell: found by the rehearsal -----------------------------------------------


def rehearsed(
    spec: ExperimentSpec, loader: Loader, change: Callable[[Any], None] = lambda model: None
) -> list[str]:
    """Rehearse; return the warnings."""
    warnings: list[str] = []
    model = build_model(spec)
    change(model)
    weights, state = copy.deepcopy(model.state_dict()), random_state()
    rehearse(Engine.open(spec, CPU, warn=warnings.append), model, loader)
    now = random_state()
    assert torch.equal(state["torch"], now["torch"])
    assert state["python"] == now["python"]
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    return warnings


def refused(spec: ExperimentSpec, loader: Loader, change: Callable[[Any], None]) -> str:
    with pytest.raises(SlotlabError) as caught:
        rehearsed(spec, loader, change)
    return str(caught.value)


def part(name: str, kind: Any, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    return lambda model: setattr(model, name, kind(getattr(model, name), change))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_rehearsal_changes_nothing(tiny: Specs, noise_loader: Loaders, size: int) -> None:
    for norm in ("batch", "none"):
        spec = tiny(model={"encoder": {"name": "cnn", "channels": [4], "kernel_size": 3}})
        assert rehearsed(spec, noise_loader(size=size)) == [], norm


def test_data_without_masks_is_rehearsed(tiny: Specs, noise_loader: Loaders) -> None:
    assert rehearsed(tiny(), noise_loader(unmasked=frozenset(range(5)))) == []


def random(x: Tensor) -> Tensor:
    return x + torch.rand(x.shape)


VALUES: list[tuple[str, Any, Any, str]] = [
    ("encoder", Changed, lambda x: x * math.nan, "model.encoder: cnn: features should be finite, and holds values that are not"),
    ("encoder", Changed, random, "model.encoder: cnn: draws from torch's own random stream"),
    ("initializer", Changed, lambda slots: Slots(slots.vectors_BKD / 0), "model.initializer: gaussian: slots should be finite"),
    ("initializer", Changed, lambda slots: Slots(random(slots.vectors_BKD)), "model.initializer: gaussian: draws from torch's own"),
    ("grouping", Changed, lambda grouped: replace(grouped, attention_BKN=2 * grouped.attention_BKN), "model.grouping: slot_attention: attention should sum to one over slots, and sums to 2 to 2"),
    ("decoder", Changed, with_decoded(masks_BKHW=lambda masks: masks.sigmoid()), "model.decoder: spatial_broadcast: masks should sum to one over slots, and sums to "),
    ("decoder", Changed, with_decoded(masks_BKHW=lambda masks: 30 * masks - 29 / 3), "model.decoder: spatial_broadcast: masks should not be negative, and is -"),
    ("decoder", Sampling, with_decoded(masks_BKHW=lambda masks: 0.5 * masks), "model.decoder: spatial_broadcast: masks of sample should sum to one over slots, and sums to 0.5 to 0.5"),
    ("decoder", Sampling, with_decoded(prediction_BCHW=lambda x: x + math.inf), "model.decoder: spatial_broadcast: the prediction of sample should be finite"),
    ("decoder", Sampling, with_decoded(prediction_BCHW=random), "model.decoder: spatial_broadcast: draws from torch's own"),
    ("decoder", Sampling, lambda decoded: decoded if decoded.prediction_BCHW.sum().item() > 1e9 else "x", "model.decoder: spatial_broadcast: sample should return Decoded, not str"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "change", "text"), VALUES)
def test_values_that_break_a_promise(
    tiny: Specs, noise_loader: Loaders, name: str, kind: Any, change: Any, text: str
) -> None:
    found = refused(tiny(), noise_loader(), part(name, kind, change))
    assert found.startswith(text), found


def test_a_target_may_draw_from_torchs_own_stream_since_it_is_made_in_training_alone(
    tiny: Specs, noise_loader: Loaders
) -> None:
    class Noisy(Objective):
        def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Any:
            return random(images_BCHW)

    assert rehearsed(tiny(), noise_loader(), lambda model: setattr(model, "objective", Noisy(""))) == []


def test_a_loss_that_is_no_number_from_the_start(tiny: Specs, noise_loader: Loaders) -> None:
    class Infinite(Objective):
        def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Any:
            return Losses(decoded.prediction_BCHW.mean() * math.inf)

    text = refused(tiny(), noise_loader(), lambda model: setattr(model, "objective", Infinite("")))
    assert text == "objective: pixel_mse: the loss should be finite, and holds values that are not"


def test_parts_that_no_gradient_reaches_are_told(tiny: Specs, noise_loader: Loaders) -> None:
    class Detaching(Changed):
        def forward(self, slots: Slots, **options: Any) -> Any:
            return self.inner(Slots(slots.vectors_BKD.detach()), **options)

    warnings = rehearsed(tiny(), noise_loader(), part("decoder", Detaching, None))
    hint = "no gradient reaches its weights, which stay as they are; if that is meant, say so with training.groups: frozen"
    names = ("encoder 'cnn'", "projection", "initializer 'gaussian'", "grouping 'slot_attention'")
    assert warnings == [f"{name}: {hint}" for name in names]
    frozen = {"weights": ["encoder", "projection", "initializer", "grouping"], "frozen": True}
    assert (
        rehearsed(tiny(training={"groups": [frozen]}), noise_loader(), part("decoder", Detaching, None)) == []
    )


class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise KeyError("lost")


def test_a_backward_pass_that_raises(tiny: Specs, noise_loader: Loaders) -> None:
    change = with_decoded(prediction_BCHW=lambda x: Fails.apply(x))
    text = refused(tiny(), noise_loader(), part("decoder", Changed, change))
    assert text.startswith("the backward pass failed: KeyError: 'lost' (")


def test_an_optimizer_that_spoils_the_weights(tiny: Specs, noise_loader: Loaders) -> None:
    spec = put(tiny(), optimizer=lambda config, context: torch.optim.SGD(context.params, lr=math.nan + 1))
    with pytest.raises(SlotlabError) as caught:
        rehearsed(spec, noise_loader())
    assert str(caught.value).startswith("training.optimizer: adam: ")


# --- metrics --------------------------------------------------------------------------------


class Metric:
    """A metric that returns given values."""

    higher_is_better, needs = True, frozenset({"images_BCHW"})

    def __init__(self, values: Any, bounds: Any = (0.0, 1.0), needs: Any = None):
        self.values, self.bounds = values, bounds
        self.needs = self.needs if needs is None else needs

    def __call__(self, outcome: Outcome) -> Any:
        return self.values


class Pooled(Metric):
    def __init__(self, weights: Any):
        super().__init__(torch.tensor([0.5, 0.5], dtype=torch.float64))
        self.given = weights

    def weights(self, outcome: Outcome) -> Any:
        return self.given


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


MUST = "it must give a float64 tensor of shape (2,), and gave"
WEIGHTS = "it must give as weights a float64 tensor of shape (2,), and gave"
METRICS: list[tuple[Metric, str]] = [
    (Metric(torch.tensor([0.5, 0.5])), f"{MUST} one of torch.float32"),
    (Metric(torch.tensor([1, 0])), f"{MUST} one of torch.int64"),
    (Metric(wide(0.5)), f"{MUST} one of shape (1,)"),
    (Metric(wide(0.5, 0.5)[None]), f"{MUST} one of shape (1, 2)"),
    (Metric([0.5, 0.5]), f"{MUST} a list"),
    (Metric(None), f"{MUST} a NoneType"),
    (Metric(wide(0.5, 1.5)), "it gave 1.5, outside its bounds 0 to 1"),
    (Metric(wide(-0.5, 0.5)), "it gave -0.5, outside its bounds 0 to 1"),
    (Metric(wide(0.5, math.inf)), "it gave inf, outside its bounds 0 to 1"),
    (Metric(wide(-math.inf, 0.5)), "it gave -inf, outside its bounds 0 to 1"),
    (Pooled(torch.ones(2)), f"{WEIGHTS} one of torch.float32"),
    (Pooled(wide(1.0)), f"{WEIGHTS} one of shape (1,)"),
    (Pooled(wide(1.0, -1.0)), "weights count objects, and it gave -1"),
    (Pooled(wide(1.0, math.nan)), "weights count objects, and it gave nan"),
    (Pooled(wide(1.0, math.inf)), "weights count objects, and it gave inf"),
]


@pytest.mark.parametrize(("metric", "text"), METRICS)
def test_what_a_metric_gives(tiny: Specs, noise_loader: Loaders, metric: Metric, text: str) -> None:
    """In an evaluation, and before a training."""
    outcome = Outcome(images_BCHW=torch.zeros(2, 3, 2, 2), true_BHW=None, predicted_BHW=None)
    with pytest.raises(SlotlabError) as caught:
        rows_of(outcome, ["a", "b"], {"mine": metric})
    assert str(caught.value) == f"metric 'mine': {text}"
    spec = put(tiny(evaluation={"metrics": ["ari"]}), metrics=lambda config, context: metric)
    assert refused(spec, noise_loader(), lambda model: None) == f"metric 'ari': {text}"


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        (wide(1 + 1e-12, -1e-12), (0.0, 1.0)),
        (wide(math.nan, 0.5), (0.0, 1.0)),
        (wide(math.inf, 3.0), (0.0, math.inf)),
        (wide(-1.0, 1.0), (-1, 1)),
        (wide(-1000 - 1e-4, 1e-7), (-1000.0, 0.0)),  # relative to the bound, whatever its sign
    ],
)
def test_what_a_metric_may_give(values: Tensor, bounds: Any) -> None:
    outcome = Outcome(images_BCHW=torch.zeros(2, 3, 2, 2), true_BHW=None, predicted_BHW=None)
    rows = rows_of(outcome, ["a", "b"], {"mine": Metric(values, bounds)})
    assert [row["mine"] for row in rows] == pytest.approx(values.tolist(), nan_ok=True)


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (Metric(None, bounds=(1.0, 0.0)), "'bounds' should be the least and the greatest value, not (1.0, 0.0)"),
        (Metric(None, bounds=3), "'bounds' should be the least and the greatest value, not 3"),
        (Metric(None, needs={"mask_BHW"}), "'needs' names 'mask_BHW', which an Outcome does not have; did you mean 'true_BHW'?"),
    ],
)  # fmt: skip
def test_what_a_metric_says_of_itself(tiny: Specs, metric: Metric, text: str) -> None:
    spec = put(tiny(evaluation={"metrics": ["ari"]}), metrics=lambda config, context: metric)
    [problem] = check_parts(spec)
    assert str(problem).startswith("evaluation.metrics.0: ari: ")
    assert text.partition(";")[0] in str(problem)
    with pytest.raises(SlotlabError):
        build_metrics(spec)


def test_an_evaluation_names_who_breaks_a_promise(tiny: Specs, noise_loader: Loaders) -> None:
    spec, cases = tiny(evaluation={"metrics": ["ari"], "baselines": []}), []
    cases.append(("decoder", Sampling, lambda decoded: decoded.prediction_BCHW, "decoder 'spatial_broadcast': sample should return Decoded, not Tensor"))  # fmt: skip
    cases.append(("decoder", Changed, lambda decoded: decoded.prediction_BCHW, "decoder 'spatial_broadcast': forward should return Decoded, not Tensor"))  # fmt: skip
    cases.append(("decoder", Changed, with_decoded(parts_BKCHW=lambda parts: parts[:, :, :1]), "decoder 'spatial_broadcast': parts, each like the prediction, should have shape (2, 3, 3, 8, 8), not (2, 3, 1, 8, 8)"))  # fmt: skip
    cases.append(("grouping", Changed, lambda grouped: grouped.slots, "grouping 'slot_attention': forward should return Grouped, not Slots"))  # fmt: skip
    cases.append(("initializer", Changed, lambda slots: slots.vectors_BKD, "initializer 'gaussian': forward should return Slots, not Tensor"))  # fmt: skip
    cases.append(("decoder", Changed, with_decoded(masks_BKHW=lambda masks: 2 * masks), "decoder 'spatial_broadcast': masks should sum to one over slots, and sums to 2 to 2"))  # fmt: skip
    cases.append(("grouping", Changed, lambda grouped: replace(grouped, attention_BKN=grouped.attention_BKN * 0), "grouping 'slot_attention': attention should sum to one over slots, and sums to 0 to 0"))  # fmt: skip
    for name, kind, change, text in cases:
        model = build_model(spec)
        part(name, kind, change)(model)
        with pytest.raises(SlotlabError) as caught:
            evaluate(spec, model, noise_loader(), build_metrics(spec))
        assert str(caught.value) == text


# --- set metrics ----------------------------------------------------------------------------


class SetMetric:
    """A set metric that returns given values."""

    higher_is_better, extractor = False, "none"

    def __init__(self, features: Any = None, result: Any = None):
        self.given, self.result = features, result

    def lacking(self) -> str | None:
        return None

    def identity(self) -> str:
        return "none"

    def features(self, images_BCHW: Tensor) -> Any:
        plain_BD = images_BCHW.flatten(1).float()
        return plain_BD if self.given is None else self.given(plain_BD)

    def distance(self, features_ND: Tensor, real_MD: Tensor) -> Any:
        return SetResult(value=0.0, images=4, real_images=4) if self.result is None else self.result


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (SetMetric(lambda x: x.double()), "features must give torch.float32 of shape (4, D) on the CPU, and gave torch.float64 of shape (4, 12) on cpu"),
        (SetMetric(lambda x: x[:3]), "features must give torch.float32 of shape (4, D) on the CPU, and gave torch.float32 of shape (3, 12) on cpu"),
        (SetMetric(lambda x: x[:, 0]), "features must give torch.float32 of shape (4, D) on the CPU, and gave torch.float32 of shape (4,) on cpu"),
        (SetMetric(lambda x: x.to("meta")), "features must give torch.float32 of shape (4, D) on the CPU, and gave torch.float32 of shape (4, 12) on meta"),
        (SetMetric(lambda x: x.numpy()), "features must give torch.float32 of shape (4, D) on the CPU, and gave a ndarray"),
        (SetMetric(result=0.5), "distance must give a SetResult, and gave a float"),
        (SetMetric(result=SetResult(value=torch.tensor(1.0), images=4, real_images=4)), "the value of its SetResult must be a float, not a Tensor"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_a_set_metric_gives(metric: Any, text: str) -> None:
    images = [torch.zeros(4, 3, 2, 2, dtype=torch.uint8)]
    with pytest.raises(SlotlabError) as caught:
        measure_sets({"mine": metric}, images, RealImages({}, lambda: images), cache=Cache(None))
    assert str(caught.value) == f"set metric 'mine': {text}"


def test_features_have_one_width() -> None:
    images = [torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.ones(4, 3, 2, 2, dtype=torch.uint8)]
    metric: Any = SetMetric(lambda x: x[:, : 3 + int(x.max())])
    with pytest.raises(SlotlabError) as caught:
        measure_sets({"mine": metric}, images, RealImages({}, lambda: images), cache=Cache(None))
    assert (
        str(caught.value)
        == "set metric 'mine': features must have one width for all images, and have 3 and 4"
    )


def test_set_metrics_are_rehearsed(tiny: Specs, noise_loader: Loaders) -> None:
    composition = {"set_metrics": ["kid"]}
    metric = SetMetric(lambda x: x.double())
    spec = put(tiny(evaluation={"composition": composition}), set_metrics=lambda config, context: metric)
    text = refused(spec, noise_loader(), lambda model: None)
    assert text.startswith("set metric 'kid': features must give torch.float32 of shape (2, D) on the CPU")


# --- datasets -------------------------------------------------------------------------------

IMAGE = torch.zeros(3, 8, 8, dtype=torch.uint8)
SAMPLES: list[tuple[Any, str]] = [
    (IMAGE, "an item is a Tensor; a dataset gives a Sample"),
    ((IMAGE, None), "an item is a tuple; a dataset gives a Sample"),
    (Sample(id=3, image_CHW=IMAGE), "the id of an item is 3; a dataset gives a text that is not empty"),  # type: ignore[arg-type]
    (Sample(id="", image_CHW=IMAGE), "the id of an item is ''; a dataset gives a text that is not empty"),
    (Sample(id="a", image_CHW=IMAGE.float()), "the image of a is torch.float32; a dataset gives torch.uint8"),
    (Sample(id="a", image_CHW=IMAGE.numpy()), "the image of a is a ndarray; a dataset gives a tensor of torch.uint8, of shape (3, H, W)"),  # type: ignore[arg-type]
    (Sample(id="a", image_CHW=IMAGE[:1]), "the image of a has shape (1, 8, 8); a dataset gives (3, H, W)"),
    (Sample(id="a", image_CHW=IMAGE.permute(1, 2, 0)), "the image of a has shape (8, 8, 3); a dataset gives (3, H, W)"),
    (Sample(id="a", image_CHW=IMAGE[0]), "the image of a has shape (8, 8); a dataset gives (3, H, W)"),
    (Sample(id="a", image_CHW=IMAGE, mask_HW=IMAGE[0].bool()), "the mask of a is torch.bool; a dataset gives whole numbers"),
    (Sample(id="a", image_CHW=IMAGE, mask_HW=IMAGE), "the mask of a has shape (3, 8, 8); a dataset gives (H, W)"),
    (Sample(id="a", image_CHW=IMAGE, mask_HW=[0]), "the mask of a is a list; a dataset gives a tensor, or None"),  # type: ignore[arg-type]
    (Sample(id="a", image_CHW=IMAGE, attributes=None), "the attributes of a are a NoneType; a dataset gives a mapping"),  # type: ignore[arg-type]
    (Sample(id="a", image_CHW=IMAGE, attributes={"objects": 3}), "'objects' in the attributes of a is no list of mappings, one for each object"),
]  # fmt: skip


class One:
    """A dataset of two items."""

    def __init__(self, item: Any, other: Any = None):
        self.items = [item, item if other is None else other]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


@pytest.mark.parametrize(("item", "text"), SAMPLES)
def test_what_a_dataset_gives(noise_loader: Loaders, item: Any, text: str) -> None:
    """Read as it is, and by a protocol, which would crop it."""
    with pytest.raises(SlotlabError) as caught:
        next(noise_loader(dataset=One(item)).epoch())
    assert str(caught.value) == text
    source = Source("mine", "all", One(item), Preparation(size=(4, 4)), {})
    with pytest.raises(SlotlabError) as caught:
        source.item(0)
    assert str(caught.value) == f"dataset 'mine': {text}"


def test_sizes_that_differ(noise_loader: Loaders) -> None:
    small = Sample(id="b", image_CHW=IMAGE[:, :4])
    with pytest.raises(SlotlabError) as caught:
        next(noise_loader(dataset=One(Sample(id="a", image_CHW=IMAGE), small)).epoch())
    text = "the image of b has shape (3, 4, 8), and that of a (3, 8, 8); images of one batch have one size"
    assert str(caught.value) == text
    odd = Sample(id="a", image_CHW=IMAGE, mask_HW=IMAGE[0, :4])
    with pytest.raises(SlotlabError, match=r"the mask of a has shape \(4, 8\), and its image \(8, 8\)"):
        next(noise_loader(dataset=One(odd)).epoch())


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_dataset_raises_is_named_also_from_a_worker(noise_loader: Loaders, workers: int) -> None:
    with pytest.raises(SlotlabError) as caught:
        next(noise_loader(dataset=One(KeyError("lost")), workers=workers).epoch())
    assert str(caught.value).startswith("the dataset failed: KeyError: 'lost' (")
    assert "Traceback" not in str(caught.value)


class Batches(One):
    """A dataset that gives whole batches."""

    def batch(self, indices: Any, device: torch.device, *, masks: bool = True) -> Any:
        return self.items[0]


GOOD = RawBatch(images_BCHW=IMAGE.expand(2, 3, 8, 8), masks_BHW=None, ids=("a", "b"), attributes=({}, {}))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (IMAGE, "a batch is a Tensor; a dataset gives a RawBatch"),
        (replace(GOOD, images_BCHW=IMAGE[None]), "the images of a batch of 2 has shape (1, 3, 8, 8); a dataset gives (2, 3, H, W)"),
        (replace(GOOD, images_BCHW=GOOD.images_BCHW.float()), "the images of a batch of 2 is torch.float32; a dataset gives torch.uint8"),
        (replace(GOOD, masks_BHW=IMAGE[:2]), None),
        (replace(GOOD, masks_BHW=IMAGE), "the masks of a batch of 2 has shape (3, 8, 8); a dataset gives (2, 8, 8)"),
        (replace(GOOD, ids=("a",)), "the ids of a batch are ('a',); a dataset gives 2"),
        (replace(GOOD, attributes=()), "the attributes of a batch are (); a dataset gives 2"),
    ],
)  # fmt: skip
def test_what_a_batched_dataset_gives(noise_loader: Loaders, raw: Any, text: str | None) -> None:
    loader = noise_loader(dataset=Batches(raw))
    if text is None:
        assert next(loader.epoch()).masks_BHW is not None
        return
    with pytest.raises(SlotlabError) as caught:
        next(loader.epoch())
    assert str(caught.value) == text


# --- the command ----------------------------------------------------------------------------

PLUGIN = """
from slotlab.plugins.decoders.spatial_broadcast import SpatialBroadcastConfig, SpatialBroadcastDecoder
from slotlab.registry import Component, hookimpl

SLOTLAB_API = 1


class Odd(SpatialBroadcastDecoder):
    def sample(self, slots, *, generator=None):
        decoded = self(slots)
        if decoded.prediction_BCHW.device.type == "meta":
            return decoded
        return decoded.prediction_BCHW


@hookimpl
def slotlab_decoders():
    yield Component(name="odd", config=SpatialBroadcastConfig, build=Odd, summary="samples a tensor")
"""


def test_the_command_refuses_before_it_trains(
    slotlab: Slotlab, base: str, write: Callable[[str, str], Path]
) -> None:
    write("odd.py", PLUGIN)
    text = base.replace("decoder: {name: spatial_broadcast", "decoder: {name: odd")
    text = text.replace("max_objects: 6", "max_objects: 6, num_train: 4, num_val: 2, textures: [plain]")
    write("spec.yaml", text + "plugins: [odd.py]\n")
    line = 1 + next(i for i, one in enumerate(text.splitlines()) if "decoder:" in one)
    code, _, err = slotlab("train", "spec.yaml", "--run", "run")
    assert code == 1
    assert f"error: spec.yaml:{line}: model.decoder: odd: sample should return Decoded, not Tensor\n" in err
    assert not Path("run").exists()
