"""Write generated scenes to disk in CLEVRTex's format, so that they are read and packed like it.

    <out>/clevrtex_<variant>/render.json               the settings that they were made with
    <out>/clevrtex_<variant>/0/CLEVRTEX_<variant>_000000.png and its siblings

A scene depends on its number and the settings alone. Therefore a rendering that was interrupted continues
where it stopped, and several processes can render different numbers of one tree.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.data.formats.clevrtex_scene import FILE, METADATA
from slotlab.framework.data.progress import ReportItems
from slotlab.framework.plugin_loading.discovery import slotlab_version
from slotlab.framework.scenes import RECIPES, NoSceneError, Pictures, Recipe, draw_pictures
from slotlab.framework.scenes.clevrtex_writer import write_scene
from slotlab.framework.scenes.recipe import Variant
from slotlab.framework.system.atomic import clear_leavings, is_barely_begun, leavings
from slotlab.framework.system.json_files import write_json
from slotlab.registry import SlotlabError

RENDER = "render.json"
MOST = 1_000_000
"""The number of scenes that six digits can number."""
_SPLIT = 0
"""The split that scenes are drawn for; readers split the tree by position."""
_TOGETHER = {"cpu": 8, "cuda": 128}
"""The number of scenes that are drawn together, while the ones before them are written."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Which scenes to write, and where."""

    out: Path
    """The folder that holds `clevrtex_<variant>`."""
    variant: Variant = "full"
    count: int = 1000
    start: int = 0
    """The number of the first scene."""
    size: tuple[int, int] = (320, 240)
    """Columns and rows."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.start < 0 or self.start + self.count > MOST:
            text = f"scenes are numbered from 0 to {MOST - 1}; {self.count} from {self.start} on do not fit"
            raise SlotlabError(text)
        if min(self.size) < 16:
            text = "{}x{}".format(*self.size)
            raise SlotlabError(f"pictures have at least 16x16 pixels, not {text}")

    @property
    def folder(self) -> Path:
        """The variant's folder."""
        return self.out / f"clevrtex_{self.variant}"

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the variant, in the uncropped view: readers crop."""
        return replace(RECIPES[self.variant], view="full")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the pixels depend on, as JSON data."""
        facts = {"variant": self.variant, "size": self.size, "seed": self.seed, "recipe": self.recipe.facts()}
        found: dict[str, Any] = json.loads(json.dumps(facts))
        return found


def render_tree(
    rendering: Rendering, device: torch.device, *, workers: int, report: ReportItems
) -> dict[str, Any]:
    """Write the scenes that do not exist yet; return their number, as JSON data.

    Args:
        rendering: the scenes.
        device: where they are drawn.
        workers: the number of threads that compress and write files.
        report: receives how many scenes exist, and how many were requested.

    Raises:
        SlotlabError: if the folder holds scenes of other settings, or a scene cannot be made.
        OSError: if a file cannot be written.
    """
    _claim(rendering)
    for folder in (rendering.folder, *rendering.folder.glob("[0-9]*")):
        clear_leavings(leavings(folder))
    wanted = range(rendering.start, rendering.start + rendering.count)
    there = set(finished(rendering.folder, rendering.variant))
    missing = [index for index in wanted if index not in there]
    done = len(wanted) - len(missing)
    report(done, len(wanted))
    together = _TOGETHER.get(device.type, _TOGETHER["cuda"])
    with ThreadPoolExecutor(max(1, workers)) as pool:
        writing: list[Any] = []
        for start in range(0, len(missing), together):
            indices = missing[start : start + together]
            pictures = _draw(rendering, indices, device)
            for scene in writing:  # one batch is drawn while one is written, and no more are kept
                scene.result()
            report(done + start, len(wanted))
            writing = [pool.submit(_write, rendering, *scene) for scene in _unpack(pictures, indices)]
        for scene in writing:
            scene.result()
    report(len(wanted), len(wanted))
    return {"folder": str(rendering.folder), "written": len(missing), "there_before": done}


def finished(folder: Path, variant: str) -> Iterator[int]:
    """Yield the numbers of the complete scenes: those with a JSON, which is written last."""
    for file in folder.glob(f"*/CLEVRTEX_{variant}_*{METADATA}"):
        match = FILE.fullmatch(file.name)
        if match is not None:
            yield int(match[2])


def _claim(rendering: Rendering) -> None:
    """Create the folder, or check that its scenes were made with the same settings.

    Raises:
        SlotlabError: if they were not, or the folder holds anything else.
    """
    path = rendering.folder / RENDER
    if path.is_file():
        try:
            known: Mapping[str, Any] = json.loads(path.read_bytes())["settings"]
        except (ValueError, KeyError, TypeError):
            text = f"{path} cannot be read, so its scenes may be of other settings; choose another folder"
            raise SlotlabError(text) from None
        differ = [key for key, value in rendering.settings.items() if known.get(key) != value]
        if differ:
            texts = (f"{key} {_show(known.get(key))}, not {_show(rendering.settings[key])}" for key in differ)
            text = f"{rendering.folder} holds scenes made with {'; '.join(texts)}"
            raise SlotlabError(f"{text}; choose another folder, or the same settings to go on")
        return
    if rendering.folder.exists() and not is_barely_begun(rendering.folder, RENDER):
        text = f"{rendering.folder} is not empty and has no {RENDER}: it was not made by this command"
        raise SlotlabError(f"{text}; choose another folder")
    write_json(path, {"settings": rendering.settings, "slotlab": slotlab_version()})


def _show(value: Any) -> str:
    return "another" if isinstance(value, dict) else json.dumps(value)


def _draw(rendering: Rendering, indices: Sequence[int], device: torch.device) -> Pictures:
    size = (rendering.size[1], rendering.size[0])
    try:
        return draw_pictures(
            rendering.recipe, size, seed=rendering.seed, split=_SPLIT, indices=indices, device=device
        )
    except NoSceneError as error:
        text = f"found no scene number {error.index} whose objects all show"
        raise SlotlabError(f"{text}; try another --seed or a larger --size") from None


def _unpack(pictures: Pictures, indices: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    images_BHWC = pictures.images_BHWC.cpu().numpy()
    masks_BHW = pictures.masks_BHW.cpu().numpy()
    depth_BHW = pictures.depth_BHW.cpu().numpy()
    return zip(indices, images_BHWC, masks_BHW, depth_BHW, pictures.attributes(), strict=True)


def _write(
    rendering: Rendering, index: int, image: Any, mask: Any, depth: Any, facts: Mapping[str, Any]
) -> None:
    write_scene(rendering.out, rendering.variant, index, image, mask, depth, facts)
