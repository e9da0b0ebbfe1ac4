"""What must hold for every family of models, shown on its small shipped spec: resuming, and rows by any batch size."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import slotlab
from slotlab.framework.jobs.train import run_training
from slotlab.framework.spec.merge import SHIPPED, shipped_specs
from slotlab.framework.training.plan import Progress
from slotlab.results import Run

FAMILIES = [name for name in shipped_specs() if name.endswith("demo")]
SMALL: dict[str, Any] = {
    "data.protocol.image_size": 16,
    "data.dataset": {"num_train": 6, "num_val": 5, "num_test": 5},
    "training.batch_size": 2,
    "training.ema_decay": 0.5,
    "training.log_every": 1,
    "training.checkpoint": {"every_steps": 2, "keep": 9},
    "training.phases": [{"steps": 5, "lr": 1e-3}],
    "evaluation.baselines": [],
}
PIXELS = {"model.decoder.broadcast_size": 4}
FEATURES = ("dinosaur_demo", "ft_dinosaur_demo", "spot_demo")
"""The families that reconstruct features."""
CODECS = ("vqvae_demo",)
INPUTS = {
    **dict.fromkeys(FEATURES, ("slot_attention_demo",)),
    "adaslot_demo": ("slots7_demo",),
    "slotformer_demo": ("savi_demo",),
    "slotdiffusion_demo": ("slot_attention_demo", "vqvae_demo"),
}
"""The runs that a family starts from, in the order in which they are trained."""
ONE_SOURCE = (*CODECS, "slotdiffusion_demo")
"""Families that have no masks of a decoder."""


def settings_of(name: str) -> dict[str, Any]:
    other = (*FEATURES, *CODECS, "slotdiffusion_demo", "slotformer_demo")
    return SMALL | ({} if name in other else PIXELS)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs`, in which lie the runs that others start from."""
    folder = tmp_path_factory.mktemp("earlier")
    for name in dict.fromkeys(name for names in INPUTS.values() for name in names):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            slotlab.train(
                f"{SHIPPED}{name}", settings_of(name), run=f"runs/{name}", device="cpu", evaluate=False
            )
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, earlier: Path) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def whole(family: str, earlier: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The family's run, trained without a break."""
    folder = tmp_path_factory.mktemp(family)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(earlier)
        return slotlab.train(
            f"{SHIPPED}{family}", settings_of(family), run=folder / "run", device="cpu", evaluate=False
        )


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here."""


@pytest.mark.slow
def test_killed_and_resumed_to_the_bit(family: str, whole: Run, earlier: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(earlier)
        loaded = slotlab.load_spec(f"{SHIPPED}{family}", settings_of(family)).loaded

    def die(progress: Progress) -> None:
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        run_training(loaded, tmp_path / "run", device=torch.device("cpu"), report=die)
    run = run_training(loaded, tmp_path / "run", device=torch.device("cpu"), report=lambda progress: None)
    assert [line["step"] for line in run.read_provenance()["restarts"]] == [2]
    for kind in ("model", "ema"):
        ours, theirs = (one.checkpoints.of_step(5).read()[kind] for one in (run, whole.folder))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_rows_do_not_depend_on_the_batch(family: str, whole: Run, tmp_path: Path) -> None:
    run = slotlab.open_run(shutil.copytree(whole.path, tmp_path / "run"), device="cpu")
    rows = {
        size: run.evaluate(settings={"evaluation.batch_size": size}, masks="both", figures=False).rows()
        for size in (1, 4, 16)
    }
    numbers = rows[1].columns.drop(["evaluation", "id"])
    assert len(rows[1]) == (5 if family in ONE_SOURCE else 10)
    for size in (4, 16):
        assert rows[size][["evaluation", "id"]].equals(rows[1][["evaluation", "id"]])
        difference = (rows[size][numbers] - rows[1][numbers]).abs().max().max()
        assert difference < 1e-5, f"batches of {size}"
