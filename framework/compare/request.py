"""What a comparison was asked for: by the caller, and by the plan of a study."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from slotlab.framework.compare.results import Declared, SequentialRule
from slotlab.framework.study.folder import StudyPlan
from slotlab.framework.study.history import PastPlan


@dataclass(frozen=True)
class ComparisonRequest:
    """Which evaluations, metrics and baseline to compare. Whatever is None or empty is left open."""

    metrics: tuple[str, ...] = ()
    primary: str | None = None
    baseline: str | None = None
    """The name of an arm."""
    dataset: str | None = None
    protocol: str | None = None
    split: str | None = None
    mask_source: str | None = None
    failed_below: float | None = None
    """A run whose primary metric is worse than this did not bind."""
    checkpoint: str | None = None
    """`best`, `last` or `step 300`."""
    facts: tuple[tuple[str, str], ...] = ()
    """Other facts of evaluations, such as `(("slots", "11"),)`; `evaluation_facts.FACTS` has their names."""
    own: bool | None = None
    """Whether, of several evaluations of a run, the one that its own spec declares is preferred."""
    unpaired: bool = False
    """Whether arms are also compared without pairing their seeds."""
    also: tuple[str, ...] = ()
    """Further tests of the primary metric, of `further_results.ALSO`."""
    equivalent_within: float | None = None
    """The margin within which an arm counts as equivalent to the baseline."""
    tasks: str | None = None
    """The axis whose labels are tasks, over which profiles are averaged."""
    declared: Declared | None = None
    """What the plan of the study declared; callers leave it None."""


def request_of(plan: StudyPlan, history: tuple[PastPlan, ...] = ()) -> ComparisonRequest:
    """Return the comparison that a study's plan declares; `history` has what it declared before."""
    declared = plan.compare
    return ComparisonRequest(
        metrics=declared.metrics,
        primary=declared.primary,
        baseline=declared.baseline,
        protocol=declared.protocol,
        split=declared.split,
        mask_source=declared.mask_source,
        failed_below=declared.failed_below,
        checkpoint=declared.checkpoint,
        equivalent_within=declared.equivalent_within,
        own=True,
        declared=Declared(
            declared.primary,
            declared.failed_below,
            sequential_rule(plan),
            declared.equivalent_within,
            plan.search,
            plan.halving,
            history,
        ),
    )


def sequential_rule(plan: StudyPlan) -> SequentialRule | None:
    """Return the rule for looks that a plan declares, with its seeds in their order."""
    rule = plan.compare.sequential
    return None if rule is None else SequentialRule(rule.rule, rule.looks, rule.alpha, plan.seeds)


def completed(request: ComparisonRequest, plan: ComparisonRequest) -> ComparisonRequest:
    """Fill what a request leaves open with what the plan declares."""
    own = {item.name: getattr(request, item.name) for item in fields(ComparisonRequest)}
    return replace(plan, **{name: value for name, value in own.items() if value not in (None, ())})


def varied_facts(paths: Iterable[str]) -> set[str]:
    """Return the facts of an evaluation that a study varies on purpose.

    Args:
        paths: dotted paths of the settings that the study's arms change.
    """
    found: set[str] = set()
    for path in paths:
        if path.startswith("data.protocol"):
            found |= {"protocol", "images", "data"}
        elif path.startswith("data.dataset"):
            found |= {"dataset", "images", "data"}
        elif path.startswith("data.filter"):
            found |= {"filter", "images"}
        elif path.startswith("data.seed"):
            found |= {"data"}
    return found
