"""Where an evaluation's files go: beside different evaluations, and in place of an earlier same one.

A name is DATASET[-VARIANT]-SPLIT-PROTOCOL-MASKS, then the checkpoint if it is not the last one, then a hash
of the facts where the name alone is ambiguous: where the evaluation changes settings of the run's own spec,
or a different evaluation has the name already.
"""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from slotlab.framework.contracts import MaskSource
from slotlab.framework.contracts.dataset_settings import variant_of
from slotlab.framework.evaluation.conditions import BOTH, Condition
from slotlab.framework.runs.folder import SAMPLES, RunFolder
from slotlab.framework.runs.measurement import (
    LAST,
    MASKS,
    REVISION,
    SummaryData,
    covers,
    definitions_of,
    digest,
    is_readable,
    is_stale,
    pictures_of,
    redefines,
    same_measurement,
    settings_of,
)
from slotlab.framework.spec.identity import canonical
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.merge import read_tree
from slotlab.framework.spec.sampling import sampling_of, with_sampling
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class Place:
    """The names of one condition's evaluations, one for each source of masks."""

    base: str
    """DATASET[-VARIANT]-SPLIT-PROTOCOL."""
    checkpoint: str = ""
    """The checkpoint; empty for the last one."""
    mark: str = ""
    """The hash; empty where the name alone is unambiguous."""

    @property
    def ending(self) -> str:
        """The part of the name after the source of masks."""
        return "".join(f"-{part}" for part in (self.checkpoint, self.mark) if part)

    def name(self, source: MaskSource) -> str:
        """Return the name of the evaluation's folder, which its figures' names contain."""
        return f"{self.base}-{source}{self.ending}"

    @property
    def composed(self) -> str:
        """The name of figures of composed pictures, which do not depend on the source of masks."""
        return f"{self.base}{self.ending}"


@dataclass
class Places:
    """The evaluations of one run: existing ones, and those being made."""

    run: RunFolder
    own: ExperimentSpec
    """The spec in the run's folder."""
    taken: dict[str, SummaryData] = field(default_factory=dict)

    @classmethod
    def of(cls, run: RunFolder, loaded: LoadedSpec) -> "Places":
        """Read the run's own spec and its existing summaries; `loaded` may change settings of that spec."""
        own = loaded.spec
        # A spec of another version may be unreadable: then no setting counts as changed.
        with suppress(SlotlabError, OSError, ValidationError):
            plain = read_tree(run.spec).plain()
            own = ExperimentSpec.model_validate(plain, context={"registry": loaded.registry})
        found = ((folder.name, run.read_summary(folder.name)) for folder in run.evaluations())
        return cls(run, own, {name: told for name, told in found if told is not None and is_readable(told)})

    def take(self, condition: Condition, facts: Mapping[MaskSource, SummaryData], there: int) -> Place:
        """Choose names for a condition.

        Args:
            condition: what is measured.
            facts: for each source of masks, what its summary says before anything is measured.
            there: how many images the split has.
        """
        spec = condition.spec
        variant = condition.variant
        chosen = variant_of(spec.data.dataset.config)
        if variant is None and chosen != variant_of(self.own.data.dataset.config):
            variant = chosen
        one = next(iter(facts.values()))
        settings = {name: value for name, value in settings_of(one).items() if name != MASKS}
        marks = [digest(settings), digest(settings, pictures_of(one), definitions_of(one))]
        if not self.changes(spec, there) and not one.get("replaced_plugins"):
            marks.insert(0, "")
        base, checkpoint = replace(condition, variant=variant).base, _written(spec.evaluation.checkpoint)
        every = [Place(base, checkpoint, mark) for mark in marks]
        place = next((place for place in every if self.is_free(place, facts)), every[-1])
        self.taken |= {place.name(source): told for source, told in facts.items()}
        return place

    def is_free(self, place: Place, facts: Mapping[MaskSource, SummaryData]) -> bool:
        """Return whether the names are unused, or hold evaluations that the new ones replace."""
        new = next(iter(facts.values()))
        for source in BOTH:
            old = self.taken.get(place.name(source))
            if old is None:
                continue
            if not same_measurement(new, old, masks=False):
                return False
            if source in facts and not covers(facts[source], old):
                return False
        return True

    def revision(self, place: Place, source: MaskSource, new: SummaryData) -> dict[str, int]:
        """Return, for its summary, which revision of its metrics an evaluation is; nothing for the first.

        It is one more than that of any other evaluation of the same images that defines a metric differently.
        """
        others = (
            old
            for name, old in self.taken.items()
            if name != place.name(source) and same_measurement(new, old) and redefines(new, old)
        )
        number = max((int(old.get(REVISION, 0)) + 1 for old in others), default=0)
        return {REVISION: number} if number else {}

    def suffix(self, spec: ExperimentSpec) -> str:
        """Return an ending for the name of composed pictures that depends on checkpoint and settings."""
        changed = self.changes(spec)
        return Place("", _written(spec.evaluation.checkpoint), digest(changed) if changed else "").ending

    def changes(self, spec: ExperimentSpec, there: int | None = None) -> dict[str, Any]:
        """Return the settings of images and slots, by path, that differ from the run's own spec.

        What an evaluation's name contains is left out: dataset, variant, split, protocol, masks, checkpoint.
        """
        mine, theirs = (_decisive(a, b, there) for a, b in ((spec, self.own), (self.own, spec)))
        return {path: value for path, value in mine.items() if theirs.get(path, value) != value}

    def clear(self, place: Place, source: MaskSource, new: SummaryData, *, masks: bool) -> None:
        """Remove the figures of the evaluation that is replaced, unless weights and facts are the same."""
        name, run = place.name(source), self.run
        old = run.read_summary(name)
        if old is None or (is_readable(old) and not is_stale(old, new)):
            return
        for stem in (name, place.composed):
            for figure in run.figures.glob(f"*-{stem}.*"):
                if figure.stem.partition("-")[2] == stem:
                    figure.unlink(missing_ok=True)
        folder = run.evaluation(name)
        shutil.rmtree(folder / SAMPLES, ignore_errors=True)
        if not masks:
            shutil.rmtree(folder / "masks", ignore_errors=True)


def binding(limit: int | None, there: int | None) -> int | None:
    """Return a limit on the number of images; None if it excludes no image."""
    return None if limit is not None and there is not None and limit >= there else limit


def _written(checkpoint: str | int) -> str:
    if isinstance(checkpoint, int):
        return f"step{checkpoint}"
    return "" if checkpoint == LAST else checkpoint


def _decisive(spec: ExperimentSpec, other: ExperimentSpec, there: int | None) -> dict[str, Any]:
    """Return settings by path; those of components only where the other spec has the same component."""
    data = spec.data
    found: dict[str, Any] = {
        "data.seed": data.seed,
        "data.filter": canonical(data.filter),
        "data.value_range": data.range_name,
        "data.clip.stride": None if data.clip is None else data.clip.stride,
        "evaluation.clip_frames": spec.evaluation.clip_frames,
        "evaluation.from_frame": spec.evaluation.from_frame,
        "evaluation.slots": spec.evaluated_slots,
        "evaluation.max_images": binding(spec.evaluation.max_images, there),
    }
    sampling = sampling_of(with_sampling(spec.model, spec.evaluation.sampling))
    if sampling is not None:
        found |= {f"evaluation.sampling.{name}": value for name, value in sampling.model_dump().items()}
    for path, ref, others in (
        ("data.dataset", data.dataset, other.data.dataset),
        ("data.protocol", data.protocol, other.data.protocol),
    ):
        if ref.name == others.name:
            names = [name for name in type(ref.config).model_fields if name not in ("variant", "evaluation")]
            found |= {f"{path}.{name}": canonical(getattr(ref.config, name)) for name in names}
    if data.protocol.name == other.data.protocol.name:  # what the model sees is in `value_range`
        found.pop("data.protocol.value_range", None)
    return found
