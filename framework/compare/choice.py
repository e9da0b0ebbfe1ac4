"""What is compared: as it was asked for, and as a study's plan says."""

from dataclasses import dataclass

from slotlab.framework.study.folder import StudyPlan


@dataclass(frozen=True)
class Choice:
    """What is compared. Everything may be left open (None)."""

    metrics: tuple[str, ...] = ()
    primary: str | None = None
    baseline: str | None = None
    """An arm's name."""
    dataset: str | None = None
    protocol: str | None = None
    split: str | None = None
    mask_source: str | None = None
    failed_below: float | None = None
    """A run whose primary metric is worse than this counts as unbound."""
    checkpoint: str | None = None
    """`best`, `last` or `step 300`."""
    facts: tuple[tuple[str, str], ...] = ()
    """Other facts of evaluations, such as `(("slots", "11"),)`; their names are `facts.FACTS`."""
    own: bool | None = None
    """Of several evaluations the one that the runs' own specs declare is taken."""


def choice_of(plan: StudyPlan) -> Choice:
    """Return what a study compares."""
    said = plan.compare
    return Choice(
        metrics=said.metrics,
        primary=said.primary,
        baseline=said.baseline,
        protocol=said.protocol,
        split=said.split,
        mask_source=said.mask_source,
        failed_below=said.failed_below,
        checkpoint=said.checkpoint,
        own=True,
    )
