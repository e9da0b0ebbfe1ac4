"""Measures of masks in words: how slots fail, by stated thresholds, and what usually helps."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from slotlab.framework.diagnosis.measures import MaskMeasures

Kind = Literal[
    "one_slot", "undecided", "by_position", "split_ground", "split_objects", "merged_objects", "lost_objects",
    "dead_slots", "spread", "binds", "unclear",
]  # fmt: skip
PAGE = "docs/how_to/binding.md"
"""The page that explains each failure and has the evidence for each advice."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From where on a measure counts as a failure."""

    binds: float = 0.6
    """The least mean ARI of a run that binds."""
    one_slot: float = 0.95
    """The largest segment has at least this part of the pixels, and the largest true one has less."""
    undecided: float = 0.25
    """The certainty is below this."""
    by_position: float = 0.6
    """Segmentations of different images agree with an ARI of at least this."""
    ground: float = 0.8
    """The ground's largest slot has less than this part of it."""
    objects: float = 0.7
    """An object's largest slot has less than this part of it, on average."""
    merged: float = 0.25
    """At least this part of the objects shares a slot with another object."""
    lost: float = 0.25
    """At least this part of the objects is in the ground's slot."""
    gap: float = 0.2
    """The ARIs of two neighboring runs, in order of ARI, are at least this far apart."""


THRESHOLDS = Thresholds()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found."""

    kind: Kind
    what: str
    """A sentence with the measure and the threshold."""
    advice: tuple[str, ...] = ()
    """What usually helps, one sentence each."""

    @property
    def evidence(self) -> str:
        """Where the failure is explained, and the advice has its evidence."""
        return f"{PAGE}#{self.kind.replace('_', '-')}"

    def facts(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {**asdict(self), "advice": list(self.advice), "evidence": self.evidence}


ADVICE: dict[Kind, tuple[str, ...]] = {
    "one_slot": ("Train on: trainings that bound later looked so for their first hundreds of steps.",),
    "undecided": ("Train on, or raise the learning rate: masks of trainings that bound were sharp early.",),
    "by_position": (
        "Draw weights as Keras does (model.weight_init: keras): torch's own leave colors behind positions.",
        "Raise the learning rate: slots leave their positions late, and sooner at a higher rate.",
    ),
    "split_ground": (
        "Raise the learning rate, or train on: the ground comes together after the objects are found.",
        "Give slots a frame of their own (invariant_slot_attention): so slotlab:demo has whole grounds.",
        "Take grounds of different colors: one that is always the same costs nothing to share.",
    ),
    "split_objects": ("Take as many slots as there are objects, and one: a spare slot cuts one in two.",),
    "merged_objects": ("Give each object a slot: evaluation.slots, or model.slots where slots are learned.",),
    "lost_objects": ("Train on: small and pale objects leave the ground's slot last.",),
    "dead_slots": ("Take fewer slots: these hold nothing, and cost time.",),
    "spread": ("Report how many runs bind, and not only a mean: slotlab compare --failed-below.",),
}
"""What usually helps. The page has what each sentence was measured on."""


def findings(found: MaskMeasures, limits: Thresholds = THRESHOLDS) -> tuple[Finding, ...]:
    """Say how the slots of a run fail, the worst first; that they bind; or that neither is clear.

    Without true masks only failures that need none are found.
    """
    failures = [Finding(kind=kind, what=what, advice=ADVICE[kind]) for kind, what in _failures(found, limits)]
    dead = []
    if found.dead and not any(one.kind == "one_slot" for one in failures):
        text = f"{found.dead} of {found.slots} slots hold nothing in any image; {found.used:.1f} are used"
        dead = [Finding(kind="dead_slots", what=f"{text}.", advice=ADVICE["dead_slots"])]
    if found.ari is not None and found.ari >= limits.binds:
        text = f"Slots bind: ARI {found.ari:.2f} (from {limits.binds:g} on)."
        return (Finding(kind="binds", what=text), *dead)
    if failures or dead:
        return (*failures, *dead)
    if found.ari is None:
        text = "Nothing is wrong that can be seen without true masks; whether slots bind cannot be."
    else:
        text = f"ARI {found.ari:.2f} is below {limits.binds:g}, but no single failure explains it."
    return (Finding(kind="unclear", what=text),)


def _failures(found: MaskMeasures, limits: Thresholds) -> Iterator[tuple[Kind, str]]:
    if found.largest >= limits.one_slot and (found.largest_true or 0) < limits.one_slot:
        yield "one_slot", _say("One slot takes all: it has {} of the pixels", found.largest, limits.one_slot)
        return  # the other measures say nothing of a single segment
    if found.certainty < limits.undecided:
        text = "All slots share all: the largest mask of a pixel is {} of the way from an even share to all"
        yield "undecided", _say(text, found.certainty, limits.undecided, below=True)
    if found.sameness is not None and found.sameness >= limits.by_position:
        text = "Slots go by position: segmentations of different images agree with an ARI of {}"
        yield "by_position", _say(text, found.sameness, limits.by_position)
    yield from _failures_by_truth(found, limits)


def _failures_by_truth(found: MaskMeasures, limits: Thresholds) -> Iterator[tuple[Kind, str]]:
    if found.ground is not None and found.ground < limits.ground:
        text = "The ground is split among {:.1f} slots, of which the largest has {{}} of it"
        filled = text.format(found.ground_slots)
        yield "split_ground", _say(filled, found.ground, limits.ground, below=True)
    if found.objects is not None and found.objects < limits.objects:
        text = "Objects are split: the largest slot of one has {} of it"
        yield "split_objects", _say(text, found.objects, limits.objects, below=True)
    if found.merged is not None and found.merged >= limits.merged:
        text = "Objects share slots: {} of them are in the slot of another"
        yield "merged_objects", _say(text, found.merged, limits.merged)
    if found.lost is not None and found.lost >= limits.lost:
        text = "Objects are lost in the ground: {} of them are in its slot"
        yield "lost_objects", _say(text, found.lost, limits.lost)


def _say(text: str, value: float, limit: float, *, below: bool = False) -> str:
    said = text.format(f"{value:.2f}")
    return f"{said} ({'below' if below else 'from'} {limit:g}{'' if below else ' on'})."


def spread_of_runs(scores: Sequence[float], limits: Thresholds = THRESHOLDS) -> Finding | None:
    """Say whether the mean ARIs of several runs lie in two heaps; None if they do not, or are fewer than 3.

    They do if the widest gap between neighbors is wide, and no gap within a heap is half as wide.
    """
    ordered = sorted(scores)
    if len(ordered) < 3:
        return None
    gaps = [high - low for low, high in pairwise(ordered)]
    widest = max(gaps)
    others = sorted(gaps)[:-1]
    if widest < limits.gap or (others and others[-1] * 2 > widest):
        return None
    cut = gaps.index(widest) + 1
    low, high = ordered[:cut], ordered[cut:]
    text = (
        f"The runs lie in two heaps: {len(high)} of {len(ordered)} have an ARI from {high[0]:.2f} on, "
        f"{len(low)} up to {low[-1]:.2f} (a gap from {limits.gap:g} on)."
    )
    return Finding(kind="spread", what=text, advice=ADVICE["spread"])
