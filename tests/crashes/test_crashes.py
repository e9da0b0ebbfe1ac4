"""Killed, or failed by the disk, at any change of the disk: the same command ends as if nothing had been."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TRAIN = ("train", "spec.yaml", "--run", "run", "--device", "cpu")
EVALUATE = ("evaluate", "run", "--device", "cpu", "--set", "evaluation.metrics=[ari, mse, psnr]")

Crash = Any
Prepare = Callable[[Path], None]


@pytest.fixture
def trained(prepare: Prepare, crash: Crash, tmp_path: Path) -> Prepare:
    """Return what writes a finished run too, of another number of epochs."""
    root = crash(prepare, *TRAIN, "--set", "training.phases=[{epochs: 1, lr: 0.05}]").fresh("trained")
    outcome = crash(prepare, *TRAIN, "--set", "training.phases=[{epochs: 1, lr: 0.05}]").run(root)
    assert outcome.code == 0, outcome.printed

    def copy(folder: Path) -> None:
        shutil.copytree(root, folder, dirs_exist_ok=True)

    return copy


def strike(one: Crash, number: int | None, *, seed: int) -> None:
    """Strike at every change in every way, or at some."""
    whole, changes = one.undisturbed()
    every = list(one.cases(changes))
    assert len(changes) > 20
    chosen = every if number is None else random.Random(seed).sample(every, number)
    wrong = one.strike_all(chosen, whole)
    print(f"{len(chosen)} of {len(every)} strikes at {len(changes)} changes")
    assert not wrong, "\n\n".join((f"{len(wrong)} of {len(chosen)}", *wrong[:5]))


some_and_all = pytest.mark.parametrize("number", [6, pytest.param(None, marks=pytest.mark.slow)])


@some_and_all
def test_train(crash: Crash, prepare: Prepare, number: int | None) -> None:
    strike(crash(prepare, *TRAIN), number, seed=0)


@some_and_all
def test_train_overwrite(crash: Crash, trained: Prepare, number: int | None) -> None:
    strike(crash(trained, *TRAIN, "--overwrite"), number, seed=1)


@some_and_all
def test_evaluate(crash: Crash, trained: Prepare, number: int | None) -> None:
    strike(crash(trained, *EVALUATE), number, seed=2)
