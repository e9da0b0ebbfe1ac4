"""Diagnoses runs: how their slots fail, in words and pictures, or that they bind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from slotlab.framework.api.choosing import check_masks
from slotlab.framework.api.consent import consent
from slotlab.framework.api.evaluating import check_conditions, open_folder, wanted_of
from slotlab.framework.api.given import Paths, paths_of
from slotlab.framework.api.progress import open_bar
from slotlab.framework.diagnosis.findings import THRESHOLDS, Finding, spread_of_runs
from slotlab.framework.jobs.diagnose import Diagnosed, diagnose_run
from slotlab.framework.jobs.train import Prepared, choose_device
from slotlab.framework.plugin_loading.trust import Ask
from slotlab.framework.runs.folder import RunFolder
from slotlab.registry import SlotlabError

IMAGES = 200
"""Images that are looked at, if the split has as many."""


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What was found of each run, and of all together."""

    runs: tuple[Diagnosed, ...]
    together: tuple[Finding, ...]
    """That the runs lie in two heaps, if they do."""

    def facts(self) -> dict[str, Any]:
        """Return it as JSON data, as `slotlab diagnose --json` writes it."""
        return {
            "format": 1,
            "thresholds": asdict(THRESHOLDS),
            "runs": [
                {
                    "run": str(one.run),
                    "step": one.step,
                    "masks": one.masks,
                    "measures": asdict(one.measures),
                    "findings": [finding.facts() for finding in one.findings],
                    "figure": str(one.figure),
                }
                for one in self.runs
            ],
            "together": [finding.facts() for finding in self.together],
        }

    def __repr__(self) -> str:
        lines = [f"{one.run}: {finding.what}" for one in self.runs for finding in one.findings]
        return "\n".join([*lines, *(finding.what for finding in self.together)])


def diagnose(
    runs: Paths,
    *,
    masks: str | None = None,
    split: str | None = None,
    images: int = IMAGES,
    trust: bool = False,
    device: str = "auto",
) -> Diagnosis:
    """Say how the slots of runs fail, or that they bind; a figure is drawn into each run's folder.

    >>> import slotlab
    >>> found = slotlab.diagnose("runs/demo", images=8)
    >>> len(found.runs), found.runs[0].measures.slots
    (1, 4)

    Args:
        runs: one run folder or several; of three and more it is also said whether they lie in two heaps.
        masks: `decoder` or `attention`; what each spec names without it.
        split: the images; each spec's evaluated split without it.
        images: how many are looked at, at most.
        trust: run code that came with another user's run (docs/explanation/trust.md).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        SlotlabError: if one is no run, has no weights, or its model no masks.
    """
    return diagnose_paths(
        paths_of(runs, "a run"),
        {"masks": masks, "split": split, "images": images},
        sets=(),
        trust=consent(given=trust),
        device=device,
    )


def diagnose_paths(
    paths: Iterable[Path], options: Mapping[str, Any], *, sets: Sequence[str], trust: Ask, device: str
) -> Diagnosis:
    """Diagnose run folders; see `diagnose`. All are opened before the first is looked at."""
    opened = [open_folder(path, sets=sets, plugins=(), trust=trust) for path in paths]
    return diagnose_opened(opened, options, device=device)


def diagnose_opened(
    opened: Sequence[tuple[RunFolder, Prepared]], options: Mapping[str, Any], *, device: str
) -> Diagnosis:
    """Diagnose opened runs; see `diagnose`."""
    masks, images = options["masks"], options["images"]
    check_masks(masks)
    if masks == "both":
        raise SlotlabError("--masks both: a diagnosis is of one source; write decoder or attention")
    if images < 2:
        raise SlotlabError(f"--images {images}: a diagnosis compares images; it needs at least 2")
    wanted = wanted_of([], [], options["split"], masks)
    ready = [(run, prepared, check_conditions(prepared, wanted)[0]) for run, prepared in opened]
    found = []
    with open_bar("diagnose") as bar:
        task = bar.add_task("diagnose", total=None, facts="")

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        for run, prepared, condition in ready:
            bar.update(task, facts=run.path.name)
            one = replace(condition, sources=condition.sources[:1])
            chosen = choose_device(device)
            found.append(diagnose_run(run, prepared.loaded, one, images=images, device=chosen, report=report))
    scores = [one.measures.ari for one in found if one.measures.ari is not None]
    spread = spread_of_runs(scores)
    return Diagnosis(tuple(found), () if spread is None else (spread,))
