"""Writes generated scenes as CLEVRTex is on disk, with a progress bar."""

import re
from pathlib import Path
from typing import Any

from slotlab.framework.api.progress import open_bar
from slotlab.framework.jobs.train import choose_device
from slotlab.framework.scenes.export import Rendering, render_tree
from slotlab.framework.scenes.recipe import VARIANTS, Variant
from slotlab.framework.system.cores import cores
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest


def render_scenes(
    out: Path,
    *,
    count: int = 1000,
    variant: str = "full",
    size: str = "320x240",
    seed: int = 0,
    device: str = "auto",
    start: int = 0,
    workers: int | None = None,
) -> dict[str, Any]:
    """Write generated scenes as CLEVRTex is on disk; those that are there stay. Return JSON data.

    Args:
        out: the folder that will hold `clevrtex_<variant>`.
        count: how many scenes.
        variant: full, outd, camo, pbg, vbg or grassbg.
        size: columns and rows, such as `320x240`.
        seed: of the scenes.
        device: auto, cpu, cuda or cuda:N.
        start: the number of the first scene.
        workers: threads that write files; None for one a core.

    Raises:
        SlotlabError: for settings that are not possible, or a folder with other scenes.
    """
    if workers is not None and workers < 1:
        raise SlotlabError(f"--workers {workers}: write a number of threads, at least 1")
    columns_rows, kind = parse_size(size), parse_variant(variant)
    rendering = Rendering(out=out, variant=kind, count=count, start=start, size=columns_rows, seed=seed)
    chosen = choose_device(device)
    bar = open_bar("render")
    task = bar.add_task("render", total=count, facts="")

    def report(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        result = render_tree(rendering, chosen, workers=workers or cores(), report=report)
    finally:
        bar.stop()
    return {**result, "size": list(rendering.size)}


def parse_size(text: str) -> tuple[int, int]:
    """Return columns and rows of `320x240`.

    Raises:
        SlotlabError: for other text.
    """
    match = re.fullmatch(r"([0-9]+)x([0-9]+)", text.strip())
    if match is None:
        raise SlotlabError(f"--size {text}: write columns and rows, such as 320x240")
    return int(match[1]), int(match[2])


def parse_variant(text: str) -> Variant:
    """Return the variant of this name.

    Raises:
        SlotlabError: if there is none.
    """
    for variant in VARIANTS:
        if variant == text:
            return variant
    raise SlotlabError(
        f"there is no variant '{text}'{suggest(text, VARIANTS)} (variants: {', '.join(VARIANTS)})"
    )
