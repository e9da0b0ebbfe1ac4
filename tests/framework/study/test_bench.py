"""The benchmark as a study: what is trained, under which names, and what is left out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.framework.api.benchmark import ABLATION, LEFT_OUT, MODELS, bench, bench_sets, specs_of
from slotlab.framework.scenes.bench import BENCH, BENCH_NAMES
from slotlab.framework.spec.merge import shipped_specs
from slotlab.framework.study.load import load_ablation
from slotlab.registry import SlotlabError

Write = Callable[[str, str], Path]


def test_every_small_spec_is_trained_or_left_out_with_a_reason() -> None:
    small = [name for name in shipped_specs() if name == "demo" or name.endswith("_demo")]
    assert sorted(small) == sorted([*MODELS, *LEFT_OUT])
    assert all(LEFT_OUT.values())
    assert [arm.labels["model"] for arm in load_ablation(ABLATION).arms] == list(MODELS)


@pytest.mark.parametrize("variant", ["many-1", "unseen-1"])
def test_all_models_are_trained_and_measured_on_the_same_pictures(variant: str) -> None:
    loaded = load_ablation(ABLATION, sets=bench_sets(variant, specs_of(()), 2))
    assert loaded.spec.name == f"bench-{variant}"
    assert loaded.baseline is loaded.arms[0]
    slots = BENCH[next(name for name in BENCH_NAMES if name == variant)].most_objects + 1
    for arm in loaded.arms:
        spec = arm.loaded.spec
        assert (spec.data.dataset.config.variant, spec.data.protocol_name) == (variant, "bench-small")
        assert (spec.evaluated_slots, spec.evaluation.split) == (slots, "test")
    assert len({str(arm.loaded.spec.evaluation.model_dump()) for arm in loaded.arms}) == 1
    assert len({arm.run_id(seed) for arm in loaded.arms for seed in (0, 1)}) == 2 * len(MODELS)


def test_a_spec_of_ones_own_enters_and_other_seeds_keep_its_runs(write: Write, tmp_path: Path) -> None:
    write("mine.yaml", "extends: slotlab:demo\nname: mine\nmodel: {slot_dim: 32}\n")
    options = {"dry_run": True, "studies": tmp_path / "studies", "runs": tmp_path / "runs"}
    few, more = (bench(("mine.yaml", "boqsa_demo"), seeds=seeds, **options)[0] for seeds in (1, 2))
    assert [run["arm"] for run in few.runs] == ["model=mine", "model=boqsa_demo"]
    assert [run["run_id"] for run in few.runs] == [run["run_id"] for run in more.runs][:2]
    assert not (tmp_path / "studies").exists()


def test_mistakes_name_what_was_written(write: Write, tmp_path: Path) -> None:
    for given, message in (
        (
            {"models": "isa_dmo"},
            "--model isa_dmo: there is no such file, nor a shipped spec of this name; did you mean",
        ),
        (
            {"variants": "plain-2"},
            "--variant plain-2: the benchmark has no such recipe; did you mean 'plain-1'",
        ),
    ):
        with pytest.raises(SlotlabError) as error:
            bench(**given, dry_run=True)
        assert str(error.value).startswith(message)
