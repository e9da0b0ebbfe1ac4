"""No mutated spec, file of a run or `--set` ends in a traceback, and none takes long.

Any case can be had again: it is drawn from its kind and number alone.
"""

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from slotlab.framework.compare.evaluation_facts import facts_of, key_of
from slotlab.framework.compare.run_records import load_all
from slotlab.framework.model.check import check_parts
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.report.runs_and_provenance import FACTS
from slotlab.framework.spec.load import load_tree
from slotlab.framework.spec.merge import apply_set, read_tree
from slotlab.framework.spec.named_plugins import Admission
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.index import printable
from slotlab.framework.study.load import load_ablation
from slotlab.framework.study.record import facts, read_record
from slotlab.framework.study.run_status import glance
from slotlab.framework.system.terminal import visible
from slotlab.registry import SlotlabError

LIMIT = 2.0
"""Seconds of the processor for one case."""
QUICK = {"specs": 150, "sets": 1500, "ablations": 5, "run files": 150, "study files": 100}
WHOLE = {"specs": 25_000, "sets": 47_500, "ablations": 500, "run files": 20_000, "study files": 7_000}
SPEC = """
format: 1
name: small
data:
  dataset: {name: scenes, max_objects: 6}
  protocol: {name: whole, image_size: 16}
  augmentation: {flip: true, crop: 0.9}
model:
  slots: 7
  slot_dim: 8
  encoder: {name: cnn, channels: [4, 4]}
  projection: {position: linear_grid, hidden_dim: 8}
  initializer: gaussian
  grouping: {name: slot_attention, iterations: 2}
  decoder: {name: spatial_broadcast, channels: [4], strides: [2]}
training:
  batch_size: 2
  optimizer: {name: adam, betas: [0.9, 0.99]}
  phases:
    - {steps: 2, lr: 1e-3, schedule: {name: cosine}}
evaluation: {split: val, metrics: [ari, mse], baselines: [one_segment]}
"""
ABLATION = """
format: 1
name: small_study
question: does it matter?
base: base.yaml
axes:
  - {name: slots, path: model.slots, values: [7, 8]}
seeds: [0, 1]
compare: {primary: ari, baseline: {slots: 7}}
"""
Case = Callable[[random.Random], None]


def attempts(kind: str, count: int, case: Case) -> None:
    """Run cases; each may be refused in words, and must end soon."""
    for number in range(count):
        seconds = attempt(kind, number, case)
        if seconds >= LIMIT:  # a case that is slow is slow again; a collection of garbage is not
            seconds = attempt(kind, number, case)
        assert seconds < LIMIT, f"{kind} {number} took {seconds:.1f} s"


def attempt(kind: str, number: int, case: Case) -> float:
    """Run a case, and return the seconds of the processor that it took."""
    began, told = time.process_time(), "in order"
    try:
        case(random.Random(f"{kind} {number}"))
    except SlotlabError as error:
        told = visible("\n".join(error.lines()))
    except OSError as error:  # the command says what the system says
        told = str(error)
    except Exception as error:
        raise AssertionError(f"{kind} {number}: {type(error).__name__}: {error}") from error
    assert 0 < len(told.encode()) < 200_000, (kind, number)
    return time.process_time() - began


@pytest.fixture
def cases(
    mutations: ModuleType, synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Case]:
    monkeypatch.chdir(tmp_path)
    registry = load_registry()
    base, path = tmp_path / "base.yaml", tmp_path / "spec.yaml"
    base.write_text(SPEC)
    tree, data = read_tree(base), yaml.safe_load(SPEC)
    places = [".".join(map(str, place)) for place in mutations.places(data) if place]
    study = synthetic.write_study(tmp_path / "made", arms=2, seeds=2, images=6)
    made = Made(tmp_path / "made", study, mutations)

    def mutate(text: str, chance: random.Random) -> bytes:
        if chance.random() < 0.6:
            changed = mutations.mutated(yaml.safe_load(text), chance)
            return json.dumps(changed).encode()  # which is YAML
        torn: bytes = mutations.torn(text.encode(), chance)
        return torn

    def specs(chance: random.Random) -> None:
        path.write_bytes(mutate(SPEC, chance))
        check_parts(load_tree(read_tree(path), registry, path, Admission()).spec)

    def sets(chance: random.Random) -> None:
        key = chance.choice(places) if chance.random() < 0.8 else str(mutations.value(chance))
        value = mutations.value(chance)
        text = json.dumps(value) if chance.random() < 0.5 else str(value)
        changed = apply_set(
            tree, chance.choice((f"{key}={text}", f"{key}.{text}", text, f"{key}.0.x={text}"))
        )
        check_parts(load_tree(changed, registry, base, Admission()).spec)

    def ablations(chance: random.Random) -> None:
        path.write_bytes(mutate(ABLATION, chance))
        load_ablation(path)

    check_parts(load_tree(tree, registry, base, Admission()).spec)  # what is imported now is no case's time
    found: dict[str, Case] = {"specs": specs, "sets": sets, "ablations": ablations}
    return found | {"run files": made.run_files, "study files": made.study_files}


class Made:
    """A study on the disk, of which one file at a time is damaged."""

    def __init__(self, folder: Path, study: Path, mutations: ModuleType):
        self.folder, self.study, self.mutations = folder, study, mutations
        self.victim, *self.others = sorted((folder / "runs").iterdir())
        self.files = [path for path in sorted(self.victim.rglob("*")) if path.is_file()]
        self.content = {path: path.read_bytes() for path in (*self.files, study / "plan.json")}

    def damage(self, path: Path, chance: random.Random) -> None:
        content, kind = self.content[path], chance.random()
        if kind < 0.6 and path.suffix in (".json", ".yaml"):
            path.write_text(json.dumps(self.mutations.mutated(yaml.safe_load(content), chance)))
        elif kind < 0.6 and path.suffix == ".jsonl":
            lines = content.decode().splitlines()
            place = chance.randrange(len(lines))
            lines[place] = json.dumps(self.mutations.mutated(json.loads(lines[place]), chance))
            path.write_text("\n".join(lines) + "\n")
        elif kind < 0.92:
            path.write_bytes(self.mutations.torn(content, chance))
        else:
            self.mutations.instead(path, chance)

    def mend(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(self.content[path])

    def run_files(self, chance: random.Random) -> None:
        path = chance.choice(self.files)
        try:
            self.damage(path, chance)
            now = glance(self.victim, None)
            assert now.state != "damaged" or path.name in now.reason, now.reason
            record = read_record(self.victim)
            json.dumps([record, [printable(str(fact)) for fact in facts(record)]], allow_nan=False)
            assert record["state"] != "damaged" or path.name in record["reason"], record["reason"]
            loaded = load_all([self.folder / "runs"])
            assert {one.path for one in loaded.records} | set(loaded.problems) >= set(self.others)
            assert all(path.name in reason for reason in loaded.problems.values()), loaded.problems
            for one in loaded.records:
                one.log_or_reason()
                [read(one.provenance) for read in FACTS.values()]
                [
                    (key_of(item), facts_of(one, item), item.versions, item.bounds)
                    for item in one.evaluations.values()
                ]
        finally:
            self.mend(path)

    def study_files(self, chance: random.Random) -> None:
        path = self.study / "plan.json"
        try:
            self.damage(path, chance)
            StudyFolder(self.study).read_plan()
            load_all([self.study, self.folder / "runs"])
        finally:
            self.mend(path)


@pytest.mark.parametrize("kind", QUICK)
def test_some_mutations_are_answered_in_words_and_soon(cases: dict[str, Case], kind: str) -> None:
    attempts(kind, QUICK[kind], cases[kind])


@pytest.mark.slow
def test_100_000_mutations_are_answered_in_words_and_soon(
    cases: dict[str, Case], capsys: pytest.CaptureFixture[str]
) -> None:
    part = int(os.environ.get("SLOTLAB_MUTATIONS", "100000")) / 100_000
    done = 0
    for kind, count in WHOLE.items():
        attempts(kind, round(count * part), cases[kind])
        done += round(count * part)
        with capsys.disabled():
            print(f"\n{done:,} mutations, the last of {kind}: no traceback, none over {LIMIT:.0f} s")


def test_the_whole_is_what_its_name_says() -> None:
    assert sum(WHOLE.values()) == 100_000


def test_no_damaged_file_hides_the_other_runs(
    mutations: ModuleType, synthetic: ModuleType, tmp_path: Path, slotlab: Callable[..., tuple[int, str, str]]
) -> None:
    """The commands themselves, over the files that must be whole."""
    study = synthetic.write_study(tmp_path, arms=2, seeds=2, images=6)
    made = Made(tmp_path, study, mutations)
    damages: dict[str, Any] = {
        "status.json": '{"state": "done", "reason": null}',
        "provenance.json": '{"run_id": [], "components": [{"name": "x"}]}',
        "spec.yaml": "name: x\nseed: two\ntraining: {batch_size: 1, phases: []}\n",
        "cost.json": "[" * 100_000,
        "metrics.jsonl": '{"kind": "train", "step": "one"}\n',
        "summary.json": None,
    }
    for name, content in damages.items():
        path = next(file for file in made.files if file.name == name)
        if content is None:
            path.unlink()
            os.mkfifo(path)
        else:
            path.write_text(content)
        code, out, err = slotlab("runs", tmp_path / "runs")
        assert code == 0, (name, err)
        assert out.splitlines()[-1] == "4 runs"
        assert f"{made.victim} is damaged: " in err, name
        assert name in err, name
        assert slotlab("watch", study, "--once")[0] == 0
        code, out, err = slotlab("compare", study)
        assert code == 0, (name, err)
        if name != "metrics.jsonl":  # which no table needs
            assert f"left out: {made.victim.name}: " in out.replace("\n", ""), (name, out)
        made.mend(path)
