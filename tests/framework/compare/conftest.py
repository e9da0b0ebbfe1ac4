"""Runs made up in memory, and studies made up on disk."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from slotlab.framework.compare.evaluation_record import EvaluationRecord
from slotlab.framework.compare.run_records import RunRecord

SETTINGS = {"model.slots": 7, "model.encoder.name": "cnn", "model.encoder.channels": (32, 32)}
VERSIONS = {"encoder.cnn": "version 1"}
Record = Callable[..., RunRecord]


def evaluation(path: Path, values: Mapping[str, float | None], facts: Mapping[str, Any]) -> EvaluationRecord:
    every: dict[str, Any] = {
        "dataset": "scenes",
        "variant": None,
        "split": "val",
        "protocol": "whole",
        "mask_source": "decoder",
        "filter": None,
        "images": 100,
        "slots": 7,
        "step": 2000,
        "data": {"fingerprint": "abc", "skipped": []},
        "metrics": {name: {"version": "1", "bounds": [0, 1]} for name in values},
        **facts,
    }
    name = "-".join(str(every[fact]) for fact in ("dataset", "split", "protocol", "mask_source"))
    return EvaluationRecord(
        path / "evaluation" / name, every, values, {name: name != "mse" for name in values}
    )


@pytest.fixture
def record() -> Record:
    """Make a run that exists in memory only."""

    def make(
        path: str,
        seed: int = 0,
        value: float | None = 0.5,
        *,
        state: str = "done",
        settings: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        evaluations: int = 1,
        train: Mapping[str, Any] | None = None,
        values: Mapping[str, float | None] | None = None,
        name: str = "small",
        **facts: Any,
    ) -> RunRecord:
        place = Path(path)
        measured = [evaluation(place, values or {"ari": value}, facts)] if evaluations else []
        data = {"dataset": "scenes", "split": "train", "fingerprint": "t", "images": 40, "skipped": []}
        return RunRecord(
            path=place,
            name=name,
            run_id=path,
            seed=seed,
            state=state,
            reason="",
            settings={**SETTINGS, **(settings or {})},
            versions={**VERSIONS, **(versions or {})},
            provenance={"data": {"train": {**data, **(train or {})}}},
            cost={},
            evaluations={one.name: one for one in measured},
        )

    return make


@pytest.fixture(scope="session")
def study(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 4 arms and 3 seeds, to be read only."""
    folder: Path = synthetic.write_study(tmp_path_factory.mktemp("made"), arms=4, seeds=3, images=40)
    return folder
