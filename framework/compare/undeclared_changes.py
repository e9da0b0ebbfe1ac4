"""What a study planned otherwise after some of its runs had been measured, as notes for the reader."""

from collections.abc import Iterator
from itertools import pairwise

from slotlab.framework.study.history import PastPlan


def changes(history: tuple[PastPlan, ...]) -> Iterator[str]:
    """Yield a sentence for each change that was made when runs had been measured already."""
    for before, after in pairwise(history):
        if after.measured:
            yield from _changes(before, after, f"after {after.measured} of its runs had been measured")


def _changes(before: PastPlan, after: PastPlan, when: str) -> Iterator[str]:
    if added := [seed for seed in after.seeds if seed not in before.seeds]:
        text = f"seeds were added to the study {when} ({', '.join(map(str, added))})"
        hint = "declare looks beforehand (compare.sequential)"
        yield f"{text}: if its numbers were seen before, p and intervals promise too much; {hint}"
    if lost := [seed for seed in before.seeds if seed not in after.seeds]:
        yield f"seeds were taken out of the study {when} ({', '.join(map(str, lost))})"
    if before.sequential != after.sequential:
        word = "declared" if before.sequential is None else "changed"
        yield f"the rule for looks was {word} {when}: it does not account for what was seen before"
    if before.primary != after.primary:
        yield f"the primary metric was changed from {before.primary} to {after.primary} {when}"
    if before.baseline != after.baseline:
        yield f"the baseline was changed from '{before.baseline}' to '{after.baseline}' {when}"
    if before.failed_below != after.failed_below:
        yield f"the threshold for binding was changed {when}"
    if lost_arms := [name for name in before.arms if name not in after.arms]:
        yield f"arms were taken out of the study {when}: {', '.join(lost_arms[:6])}"
