"""Arms that are chosen one after the other by what was measured before: trials, proposed by Optuna.

STUDY/trials.json   the trials in their order: labels, value and state

Every proposal depends on the seed, its number and the trials before it alone, so that a study that was killed
goes on with the same trials. Torch is not imported.
"""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from slotlab.framework.study.ablation import SearchSpec
from slotlab.framework.study.labels import Combination, Space, matches
from slotlab.framework.system.json_files import read_json, write_json
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

FORMAT = 1
"""Version of the shape of trials.json."""


@dataclass(frozen=True)
class Trial:
    """One arm that was proposed, and what it gave."""

    labels: Mapping[str, str]
    """Label by axis."""
    value: float | None = None
    """The mean over seeds of the primary metric."""
    state: Literal["waiting", "complete", "failed"] = "waiting"
    """`failed` if one of its runs failed or has no value: it counts, and is never averaged."""


@dataclass(frozen=True)
class Trials:
    """The file of a study's trials."""

    folder: Path
    search: SearchSpec

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / "trials.json"

    def read(self) -> list[Trial]:
        """Return the trials in their order; none if the file does not exist.

        Raises:
            SlotlabError: if it is damaged, or of a search with other settings.
        """
        data = read_json(self.path)
        if not data:
            return []
        if data.get("search") != self._identity():
            text = f"{self.folder} holds the trials of a search with other settings"
            raise SlotlabError(f"{text} ({data.get('search')}); give the ablation another name")
        try:
            return TypeAdapter(list[Trial]).validate_python(data.get("trials"))
        except ValidationError:
            raise SlotlabError(f"{self.path} is damaged; it should list the trials of the study") from None

    def write(self, trials: Sequence[Trial]) -> None:
        """Write the trials, atomically."""
        told = [asdict(one) for one in trials]
        write_json(self.path, {"format": FORMAT, "search": self._identity(), "trials": told})

    def _identity(self) -> dict[str, Any]:
        """Return the settings that decide what is proposed; more trials keep those that there are."""
        return self.search.model_dump(mode="json", exclude={"trials"})


def propose(
    space: Space, search: SearchSpec, trials: Sequence[Trial], *, higher_is_better: bool
) -> Combination | None:
    """Return the labels of the next trial; None if every combination was tried.

    A combination that was tried already is told again with its value, and another one asked for.

    Raises:
        SlotlabError: if Optuna is not installed, or has no such sampler.
    """
    tried = [one.labels for one in trials]
    left = [one for one in space.grid() if one not in tried]
    if not left:
        return None
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    order = {axis: ordered(labels) for axis, labels in space.axes.items()}
    distributions = {axis: distribution(optuna, axis, space) for axis in space.axes}
    study = optuna.create_study(
        direction="maximize" if higher_is_better else "minimize",
        sampler=sampler(optuna, search, len(trials)),
    )
    known = {tuple(one.labels.items()): one for one in trials}
    for one in trials:
        study.add_trial(told(optuna, one, order, distributions))
    for _ in range(search.patience):
        params = study.ask(distributions).params
        labels = {
            axis: order[axis][value] if isinstance(value, int) else value for axis, value in params.items()
        }
        chosen = {axis: labels[axis] for axis in space.axes}
        if chosen in left:
            return chosen
        again = known.get(tuple(chosen.items()))
        study.add_trial(told(optuna, again or Trial(chosen, None, "failed"), order, distributions))
    return min(left, key=lambda one: lot(search.seed, len(trials), one))


def import_optuna() -> Any:
    """Return Optuna.

    Raises:
        SlotlabError: if it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise SlotlabError("a search needs Optuna: pip install 'slotlab[search]'") from None
    return optuna


def sampler(optuna: Any, search: SearchSpec, number: int) -> Any:
    """Build a sampler of Optuna, with a seed of its own for each trial."""
    found: Any = getattr(optuna.samplers, search.sampler, None)
    names = [name for name in dir(optuna.samplers) if name.endswith("Sampler") and name != "BaseSampler"]
    if search.sampler not in names:
        hint = f"{suggest(search.sampler, names)} (samplers: {', '.join(names)})"
        raise SlotlabError(f"Optuna has no sampler '{search.sampler}'{hint}")
    if "seed" not in inspect.signature(found).parameters:
        raise SlotlabError(f"the sampler {search.sampler} takes no seed, so its trials could not be repeated")
    seed = int(lot(search.seed, number, {})[:8], 16)
    try:
        return found(seed=seed, **search.settings)
    except TypeError as error:
        raise SlotlabError(f"the sampler {search.sampler}: {error}") from None


def distribution(optuna: Any, axis: str, space: Space) -> Any:
    """Return what an axis is to Optuna: a rank if all labels are numbers, else a choice."""
    labels = space.axes[axis]
    if all(number(one) is not None for one in labels):
        return optuna.distributions.IntDistribution(0, len(labels) - 1)
    return optuna.distributions.CategoricalDistribution(list(labels))


def ordered(labels: Sequence[str]) -> list[str]:
    """Return numeric labels by size, others as they are."""
    numbers = {one: number(one) for one in labels}
    if any(value is None for value in numbers.values()):
        return list(labels)
    return sorted(labels, key=lambda one: numbers[one] or 0.0)


def number(text: str) -> float | None:
    """Return a label as a number; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def told(optuna: Any, trial: Trial, order: Mapping[str, Sequence[str]], distributions: Any) -> Any:
    """Return a trial as Optuna keeps it; one that waits or failed has no value."""
    ranked = optuna.distributions.IntDistribution
    params = {
        axis: order[axis].index(one) if isinstance(distributions[axis], ranked) else one
        for axis, one in trial.labels.items()
    }
    if trial.state == "complete" and trial.value is not None:
        return optuna.trial.create_trial(value=trial.value, params=params, distributions=distributions)
    failed = optuna.trial.TrialState.FAIL
    return optuna.trial.create_trial(state=failed, params=params, distributions=distributions)


def lot(seed: int, number: int, labels: Combination) -> str:
    """Return a hash that chooses: the same for the same seed, trial and labels."""
    return hashlib.sha256(f"{seed}/{number}/{sorted(labels.items())}".encode()).hexdigest()


def first_trial(space: Space, search: SearchSpec, baseline: Combination) -> Trial:
    """Return the first trial: the baseline if one is named, so that arms are compared with it."""
    if baseline and not any(matches(baseline, rule) for rule in space.exclude):
        return Trial({axis: baseline[axis] for axis in space.axes})
    grid = space.grid()
    return Trial(min(grid, key=lambda one: lot(search.seed, 0, one)))


def finished(trial: Trial, values: Sequence[float | None]) -> Trial:
    """Return a trial with what its runs gave, one value for each seed."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return replace(trial, state="failed")
    return replace(trial, state="complete", value=sum(known) / len(known))
