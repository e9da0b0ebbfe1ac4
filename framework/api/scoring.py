"""Scores label masks that any program wrote, or that are in memory."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from slotlab.framework.conditions import chosen_metrics, find_protocol
from slotlab.framework.contracts import Metric, MetricContext
from slotlab.framework.discovery import load_registry
from slotlab.framework.evaluations import facts_of, results
from slotlab.framework.ledger import Evaluation
from slotlab.framework.mask_pictures import MaskCode, read_setting, same
from slotlab.framework.protocol import describe_protocol
from slotlab.framework.run import MODEL, SUMMARY_FORMAT
from slotlab.framework.score import BOUNDS, Folders, Reader, score
from slotlab.registry import ComponentError, Ref, SlotlabError

Result = dict[str, Any]


def score_folders(
    folders: Folders,
    protocol: str | None,
    metrics: str | None,
    *,
    prepare: bool,
    slots: int | None,
    background: str,
    void: str,
    exif: str | None,
    plugins: Sequence[Path],
) -> tuple[Result, Evaluation]:
    """Return the result, and the rows of the images."""
    registry = load_registry(plugins)
    ref = None if protocol is None else find_protocol(protocol, registry)
    settings: Any = None if ref is None else ref.config
    chosen = chosen_metrics(ref, metrics, registry)
    built = {one.name: build_metric(one, MetricContext(value_range=BOUNDS)) for one in chosen}
    code = mask_code(background, void)
    if exif not in (None, "apply", "ignore"):
        raise SlotlabError(f"--exif {exif}: write apply or ignore")
    turn: Any = exif
    reader = Reader(folders, settings.preparation if prepare else None, slots, code, turn)
    evaluation, sizes = score(reader, built)
    found = results(evaluation, built, facts_of(chosen), settings)
    if not found["methods"][MODEL]:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found["left_out"].items())
        raise SlotlabError(f"nothing can be scored: {reasons}")
    given = {option.removeprefix("--"): str(folder) for option, folder in folders.named().items()}
    result = {
        "format": SUMMARY_FORMAT,
        "folders": given,
        "protocol": None if ref is None else describe_protocol(ref.name, settings),
        "prepared": prepare,
        "images": sum(sizes.values()),
        "sizes": sizes,
        "value_range": "unit",
        "slots": slots,
        "background": code.background,
        "void": code.void,
        **found,
    }
    return result, evaluation


def mask_code(background: str, void: str) -> MaskCode:
    """Return what --background and --void say of true masks.

    Raises:
        SlotlabError: if they name no label, or the same one.
    """
    found = []
    for option, text in (("--background", background), ("--void", void)):
        try:
            number = re.fullmatch("-?[0-9]+", text)
            found.append(int(text) if number else read_setting(text))
        except PydanticCustomError as error:
            raise SlotlabError(f"{option} {text}: {error.message()}") from None
    if same(*found):
        raise SlotlabError(
            f"--background {background} and --void {void} are the same label; a pixel is one of them"
        )
    return MaskCode(*found)


def build_metric(ref: Ref, context: MetricContext) -> Metric:
    """Build a metric.

    Raises:
        SlotlabError: if its settings are not enough.
    """
    try:
        metric: Metric = ref.build(context)
    except ComponentError as error:
        hint = f"settings are given as --metrics '[{{name: {ref.name}, ...}}]'"
        raise SlotlabError(f"metric '{ref.name}': {error}; {hint}") from None
    return metric
