"""A run under several conditions: files and facts, and that sums depend on nothing but the images."""

import csv
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.contracts import Metric, MetricContext, Outcome
from slotlab.framework.data.loader import Loader
from slotlab.framework.evaluation.breakdown import breakdowns
from slotlab.framework.evaluation.conditions import EvaluationRequest, conditions, own_condition
from slotlab.framework.evaluation.evaluate import evaluate, evaluate_masks
from slotlab.framework.evaluation.rows import Evaluation, Ledger
from slotlab.framework.evaluation.score_files import Reader, score
from slotlab.framework.evaluation.score_folders import ScoredFolders
from slotlab.framework.evaluation.trained_run import check_aggregation
from slotlab.framework.jobs import evaluate as evaluations
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_metrics, build_model
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.runs.folder import MODEL, UNFINISHED, RunFolder
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
SPEC = """
format: 1
name: small
plugins: [anysize.py]
data:
  dataset: {name: scenes, min_objects: 2, max_objects: 4, num_train: 4, num_val: 5, num_test: 6, textures: [plain]}
  protocol: {name: whole, image_size: 16}
model:
  slots: 5
  slot_dim: 8
  encoder: {name: cnn, channels: [4]}
  initializer: learnable
  grouping: slot_attention
  decoder: anysize
training:
  batch_size: 2
  phases: [{steps: 2, lr: 1e-2}]
evaluation: {baselines: [one_segment], batch_size: 4}
"""
ANYSIZE = """
from slotlab.plugins.decoders.spatial_broadcast import SpatialBroadcastConfig, SpatialBroadcastDecoder
from slotlab.registry import Component, hookimpl

SLOTLAB_API = 1


def build(config, context):
    fitting = {"broadcast_size": context.target.size[0] // 2, "channels": (4,), "strides": (2,)}
    return SpatialBroadcastDecoder(config.model_copy(update=fitting), context)


@hookimpl
def slotlab_decoders():
    yield Component(name="anysize", config=SpatialBroadcastConfig, build=build, summary="paints any size")
"""
SMALL = "{name: clevrtex-official, image_size: 16}"
LARGER = "{name: clevrtex-official, image_size: 24}"
MASK_METRICS = (
    "ari",
    "fg_ari",
    "miou_official",
    "mbo_per_object",
    "msc_official",
    "dice_official",
    "mse_unit",
)
Trained = tuple[RunFolder, LoadedSpec]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("anysize.py").write_text(ANYSIZE)
        Path("spec.yaml").write_text(SPEC)
        loaded = prepare("spec.yaml").loaded
        yield run_training(loaded, folder / "run", device=CPU, report=lambda progress: None), loaded


def evaluated(trained: Trained, **wanted: Any) -> list[dict[str, Any]]:
    run, loaded = trained
    found = conditions(loaded, EvaluationRequest(**wanted))
    return run_evaluations(run, loaded, found, device=CPU, figures=False, masks=True)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def same_numbers(one: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations have the same rows and summaries, bit by bit."""
    texts = [json.dumps([e.rows[MODEL], list(e.objects), e.left_out]) for e in (one, other)]
    return texts[0] == texts[1]


# --- files and facts ---------------------------------------------------------------------


def test_numbers_are_kept_whatever_becomes_of_the_drawing(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, loaded = trained
    wanted = conditions(loaded, EvaluationRequest())

    def stopped(*words: Any, **options: Any) -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluations, "draw_evaluation", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_evaluations(run, loaded, wanted, device=CPU)
    [half] = [one for one in run.read_summaries().values() if UNFINISHED in one]
    monkeypatch.setattr(evaluations, "draw_evaluation", lambda *words, **options: {})
    run_evaluations(run, loaded, wanted, device=CPU)
    whole = [one for one in run.read_summaries().values() if UNFINISHED not in one]
    assert {key: value for key, value in half.items() if key != UNFINISHED} in whole
    assert len(whole) == len(run.evaluations())


def test_each_condition_and_source_has_a_folder_with_all_facts(trained: Trained) -> None:
    run, loaded = trained
    found = evaluated(trained, protocols=[SMALL, "whole"], variants=["full", "camo"], masks="both")
    names = [
        f"scenes{variant}-{rest}-{source}"
        for variant in ("", "-camo")
        for rest in ("test-clevrtex-official", "val-whole")
        for source in ("decoder", "attention")
    ]
    assert sorted(path.name for path in (run.path / "evaluation").iterdir()) == sorted(names)
    for name, summary in zip(names, found, strict=True):
        written = json.loads((run.evaluation(name) / "summary.json").read_text())
        assert written == {key: value for key, value in summary.items() if key != "figures_left_out"}
        assert (summary["format"], summary["run_id"]) == (2, run_id(loaded.spec))
        assert name.endswith(summary["mask_source"])
        assert summary["variant"] == ("camo" if "camo" in name else "full")
        assert summary["protocol"] == (
            "whole (image_size 16)" if "whole" in name else "clevrtex-official (image_size 16)"
        )
        assert (summary["value_range"], summary["aggregation"], summary["slots"]) == ("signed", "images", 5)
        assert set(summary["metrics"]) == set(summary["methods"][MODEL])
        assert summary["metrics"]["ari"] == {
            "version": "1",
            "settings": {},
            "higher_is_better": True,
            "bounds": [-0.5, 1.0],
            "aggregation": "images",
        }
        assert set(summary["breakdowns"]) == {"objects", "material", "shape", "size", "occlusion"}
        assert (summary["published"], summary["set_metrics"], summary["left_out"]) == ([], {}, {})
        rows = table(run.evaluation(name) / "images.csv")
        assert [row["method"] for row in rows] == [MODEL] * summary["images"] + ["one_segment"] * summary[
            "images"
        ]
        objects = table(run.evaluation(name) / "objects.csv")
        assert len(objects) == sum(int(row["objects"]) for row in rows if row["method"] == MODEL)


def test_a_protocol_of_another_size_is_evaluated_at_its_size(trained: Trained) -> None:
    [summary] = evaluated(trained, protocols=[LARGER])
    assert (summary["image_size"], summary["images"]) == (24, 6)


def test_both_sources_in_one_pass_are_the_two_alone(trained: Trained) -> None:
    both = evaluated(trained, masks="both")
    alone = [evaluated(trained, masks=source)[0] for source in ("decoder", "attention")]
    assert both == alone
    assert both[0]["methods"][MODEL]["ari"] != both[1]["methods"][MODEL]["ari"]
    assert both[0]["methods"]["one_segment"] == both[1]["methods"]["one_segment"]


def test_the_protocols_range_is_not_the_models(trained: Trained) -> None:
    """What the model sees is in its own range: the official error is the spec's, in other units."""
    blocks = [
        f"{{name: whole, image_size: 16, value_range: {name}, evaluation: {{metrics: [mse, mse_unit]}}}}"
        for name in ("signed", "unit")
    ]
    one, other = (evaluated(trained, protocols=[block], split="val")[0]["methods"][MODEL] for block in blocks)
    assert one == other
    assert one["mse"]["mean"] == pytest.approx(4 * one["mse_unit"]["mean"])


def test_the_specs_own_evaluation_is_the_condition_without_wishes(trained: Trained) -> None:
    run, loaded = trained
    [summary] = evaluated(trained)
    assert run_evaluations(run, loaded, [own_condition(loaded)], device=CPU, figures=False) == [summary]


def test_weights_that_do_not_fit_another_size(trained: Trained) -> None:
    run, _ = trained
    other = prepare(run.path.parent / "spec.yaml", sets=["model.slot_dim=9"]).loaded
    with pytest.raises(SlotlabError) as error:
        run_evaluations(run, other, conditions(other, EvaluationRequest(protocols=[LARGER])), device=CPU)
    text = f"the weights in {run.checkpoints.folder} do not fit {run.spec} for images of 24 pixels, trained on 16: "
    assert str(error.value).startswith(text)


# --- aggregation -------------------------------------------------------------------------


def protocol_spec(tiny: Callable[..., ExperimentSpec], aggregation: str, *metrics: str) -> ExperimentSpec:
    scoring = {"aggregation": aggregation, "metrics": list(metrics)}
    data = {"protocol": {"name": "seed", "image_size": 8, "evaluation": scoring}}
    return tiny(data=data, evaluation={"metrics": list(metrics)})


@pytest.mark.parametrize(
    ("aggregation", "metrics", "text"),
    [
        (
            "images",
            ("ari", "mbo_per_object"),
            "means are over images, and its metric 'mbo_per_object' is a mean over objects; write 'aggregation: objects'",
        ),
        (
            "objects",
            ("ari", "mbo"),
            "means are over objects, and none of its metrics is pooled over objects; write 'aggregation: images'",
        ),
    ],
)
def test_a_protocol_averages_as_its_metrics_do(tiny: Any, aggregation: str, metrics: Any, text: str) -> None:
    spec = protocol_spec(tiny, aggregation, *metrics)
    with pytest.raises(SlotlabError) as error:
        check_aggregation(spec, build_metrics(spec))
    assert str(error.value) == f"protocol 'seed': {text}"
    other = {"images": "objects", "objects": "images"}[aggregation]
    spec = protocol_spec(tiny, other, *metrics)
    check_aggregation(spec, build_metrics(spec))


# --- sums depend on nothing but the images -----------------------------------------------


def all_metrics(*names: str) -> dict[str, Metric]:
    registry = load_registry()
    found = {}
    for name in names:
        item = registry.find("metric", name)
        assert item is not None
        found[name] = item.component.build(item.component.config(), MetricContext(value_range=(0.0, 1.0)))
    return found


def random_outcome(images: Sequence[int], side: int = 12) -> Outcome:
    """Image i is always the same, whatever it is together with."""
    parts: dict[str, list[torch.Tensor]] = {"images": [], "recon": [], "true": [], "masks": []}
    for i in images:
        stream = torch.Generator().manual_seed(i)
        parts["images"].append(torch.rand(3, side, side, generator=stream))
        parts["recon"].append(torch.rand(3, side, side, generator=stream))
        parts["true"].append(torch.randint(0, 2 + i % 5, (side, side), generator=stream))
        parts["masks"].append(torch.rand(7, side, side, generator=stream).softmax(0))
    masks_BKHW = torch.stack(parts["masks"])
    return Outcome(
        images_BCHW=torch.stack(parts["images"]),
        true_BHW=torch.stack(parts["true"]),
        predicted_BHW=masks_BKHW.argmax(1),
        reconstructions_BCHW=torch.stack(parts["recon"]),
        masks_BKHW=masks_BKHW,
    )


def tallied(groups: Sequence[Sequence[int]], processes: int = 1) -> Evaluation:
    """Measure groups of images, dealt to several ledgers whose lists are then brought together."""
    metrics = all_metrics(*MASK_METRICS)
    ledgers = [Ledger(metrics, {MODEL: []}) for _ in range(processes)]
    for place, group in enumerate(groups):
        ledgers[place % processes].add(MODEL, group, [f"n{i}" for i in group], random_outcome(group))
    shares = iter([[ledger.rows[MODEL] for ledger in ledgers], [ledger.objects for ledger in ledgers]])

    def gather(own: list[Any]) -> list[Any]:
        return [one for share in next(shares) for one in share]

    return ledgers[0].close(gather)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 5, 17])
def test_batches_order_and_processes_change_no_bit(size: int, processes: int) -> None:
    order = list(range(17))
    expected = tallied([order])
    random.Random(size * 10 + processes).shuffle(order)
    found = tallied([order[start : start + size] for start in range(0, 17, size)], processes)
    assert same_numbers(found, expected)
    metrics = all_metrics(*MASK_METRICS)
    assert json.dumps(found.summary(metrics)) == json.dumps(expected.summary(metrics))
    bounds = {name: one.bounds for name, one in metrics.items()}
    parts = [json.dumps(breakdowns(e.rows[MODEL], e.objects, bounds)) for e in (found, expected)]
    assert parts[0] == parts[1]


def test_the_summary_of_shuffled_rows_is_the_same_to_the_bit() -> None:
    whole = tallied([list(range(17))])
    rows = list(whole.rows[MODEL])
    random.Random(1).shuffle(rows)
    metrics = all_metrics(*MASK_METRICS)
    assert Evaluation({MODEL: rows}, {}).summary(metrics) == whole.summary(metrics)
    values, weights = ([row[name] for row in rows] for name in ("mbo_per_object", "mbo_per_object_weight"))
    exact = math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)
    assert whole.summary(metrics)[MODEL]["mbo_per_object"]["mean"] == exact


def test_shares_of_two_processes_are_the_whole(tiny: Any, noise_loader: Callable[..., Loader]) -> None:
    """With one image at a time, so that a model's own rounding does not depend on its batch either."""
    spec = tiny(evaluation={"baselines": ["position_grid"]})
    model, metrics = build_model(spec), all_metrics("ari", "mbo_per_object", "mse_unit")
    whole = evaluate_masks(spec, model, noise_loader(batch_size=1), metrics, ("decoder", "attention"))
    shares: list[list[list[Any]]] = []
    for rank in (0, 1):
        loader = noise_loader(batch_size=1)
        share = Loader(loader.dataset, 1, CPU, loader.bounds, rank=rank, processes=2)
        taken: list[list[Any]] = []

        def take(own: list[Any], taken: list[list[Any]] = taken) -> list[Any]:
            taken.append(own)
            return own

        evaluate_masks(spec, model, share, metrics, ("decoder", "attention"), gather=take)
        shares.append(taken)
    assert [len(taken) for taken in shares] == [len(shares[0])] * 2, "the same exchanges in every process"
    together = iter([one + other for one, other in zip(*shares, strict=True)])
    half = Loader(noise_loader().dataset, 1, CPU, (-1.0, 1.0), rank=0, processes=2)
    found = evaluate_masks(
        spec, model, half, metrics, ("decoder", "attention"), gather=lambda own: next(together)
    )
    for source, one in whole.items():
        assert same_numbers(found[source], one)
        assert found[source].summary(metrics) == one.summary(metrics)


def test_single_objects_are_left_out_where_nobody_asks(
    tiny: Any, noise_loader: Callable[..., Loader]
) -> None:
    spec = tiny()
    assert evaluate(spec, build_model(spec), noise_loader(), build_metrics(spec)).objects == []


# --- a run's own masks, scored as a stranger's --------------------------------------------


def test_scoring_the_masks_that_were_written_gives_the_same_numbers(trained: Trained) -> None:
    run, _ = trained
    for summary in evaluated(trained, protocols=[SMALL], variants=["outd"], masks="both"):
        folder = run.evaluation(f"scenes-outd-test-clevrtex-official-{summary['mask_source']}") / "masks"
        names = [name for name, facts in summary["metrics"].items() if not name.startswith("mse")]
        metrics = all_metrics(*names)
        reader = Reader(ScoredFolders(true=folder / "true", pred=folder / "predicted"), slots=5)
        evaluation, sizes = score(reader, metrics)
        assert sizes == {"16x16": 6}
        assert evaluation.summary(metrics)[MODEL] == {name: summary["methods"][MODEL][name] for name in names}
        known = {"objects", "occlusion"}
        bounds = {name: one.bounds for name, one in metrics.items()}
        ours = breakdowns(evaluation.rows[MODEL], evaluation.objects, bounds)
        assert ours["occlusion"] == summary["breakdowns"]["occlusion"]
        assert set(ours) == known
