"""What is compared, as whoever asks for a comparison says it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slotlab.registry.component import suggest
from slotlab.registry.errors import SlotlabError

if TYPE_CHECKING:
    from slotlab.framework.compare.request import ComparisonRequest

MASKS = ("decoder", "attention", "both")


def check_masks(masks: str | None) -> None:
    """Refuse sources of masks that there are not.

    Raises:
        SlotlabError: for another text.
    """
    if masks is not None and masks not in MASKS:
        raise SlotlabError(f"--masks {masks}: write {', '.join(MASKS[:-1])} or {MASKS[-1]}")


def chosen(
    *,
    metrics: Sequence[str],
    primary: str | None,
    baseline: str | None,
    dataset: str | None,
    protocol: str | None,
    split: str | None,
    masks: str | None,
    checkpoint: str | None,
    evaluation: Sequence[str],
    failed_below: float | None,
    unpaired: bool,
    also: Sequence[str] = (),
    equivalent_within: float | None = None,
    tasks: str | None = None,
) -> "ComparisonRequest":
    """Return the choice that options make.

    Raises:
        SlotlabError: for a fact that evaluations do not have, and for what is no checkpoint.
    """
    from slotlab.framework.compare.evaluation_facts import FACTS
    from slotlab.framework.compare.further_results import ALSO
    from slotlab.framework.compare.request import ComparisonRequest
    from slotlab.framework.runs.measurement import checkpoint_name

    for name in also:
        if name not in ALSO:
            raise SlotlabError(
                f"--also {name}: write {', '.join(ALSO[:-1])} or {ALSO[-1]}{suggest(name, ALSO)}"
            )
    if equivalent_within is not None and not 0 < equivalent_within < math.inf:
        raise SlotlabError(f"--equivalent-within {equivalent_within:g}: write a number above 0")
    if checkpoint not in (None, "best", "last"):
        if not checkpoint.isdecimal():
            raise SlotlabError(f"--checkpoint {checkpoint}: write best, last or the step of a checkpoint")
        checkpoint = checkpoint_name(int(checkpoint))
    facts = []
    for text in evaluation:
        name, equals, value = (part.strip() for part in text.partition("="))
        if name not in FACTS or not (equals and value):
            hint = f"{suggest(name, FACTS)} (facts: {', '.join(FACTS)})"
            raise SlotlabError(f"--evaluation {text}: write FACT=VALUE, such as slots=11{hint}")
        facts.append((name, value))
    return ComparisonRequest(
        metrics=tuple(metrics),
        primary=primary,
        baseline=baseline,
        dataset=dataset,
        protocol=protocol,
        split=split,
        mask_source=masks,
        failed_below=failed_below,
        unpaired=unpaired,
        also=tuple(also),
        equivalent_within=equivalent_within,
        tasks=tasks,
        checkpoint=checkpoint,
        facts=tuple(facts),
    )
