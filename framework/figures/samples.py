"""Samples of an evaluation: pictures of single images as files, for pages that compare runs.

EVALUATION/samples/index.json
    a list with `id`, `position` in the split, `roles`, `metrics` (value by name, or null), and
    `files` (file by name, relative to the folder; pictures that the model does not have are left out)
EVALUATION/samples/000012-NAME.png
    at the model's image size: `image`, `reconstruction`, `true` and `predicted` masks;
    `slots` has the slots' parts times their masks side by side, slot 0 at the left
    (of a clip these are of its middle frame)
EVALUATION/samples/000012-clip.webp
    of a clip: the first four side by side, playing, in the colors of slots
EVALUATION/samples/000012-NAME-film.webp
    of a clip: all frames of NAME, one above the other, the first at the top; without parts, `slots` has the
    frame in their place. `frames` in the index says how many there are, `foretold` the first of which the
    model has seen nothing (0: it sees all)

The first 8 images of the split have the role `shared`: they are the same for every run on the same
data. Up to 2 each have the roles `best`, `median` and `worst`, by the first metric. In a predicted
mask, slot k has color k of `framework.figures.style`; in a true mask, the background is black, void is
white, and object i has color i - 1 for every run alike.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.clips import animation, films
from slotlab.framework.figures.films import strip
from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.mask_colors import paint_slots, paint_truth
from slotlab.framework.figures.png import to_png
from slotlab.framework.figures.ranking import Ranking, finite
from slotlab.framework.system.atomic import write_atomically
from slotlab.framework.system.json_files import write_json

INDEX = "index.json"
FILM = "-film"
"""Ends the names of films in `files`."""
SHARED = 8
"""How many of the first images of the split have the role `shared`."""


def sample_roles(images: int, ranking: Ranking | None) -> dict[int, list[str]]:
    """Return the roles of each sampled image, by position, in the order of the index."""
    roles: dict[int, list[str]] = {position: ["shared"] for position in range(min(SHARED, images))}
    for role, positions in ({} if ranking is None else ranking.ends_and_middle()).items():
        for position in positions:
            roles.setdefault(position, []).append(role)
    return roles


def write_samples(
    folder: Path,
    roles: Mapping[int, Sequence[str]],
    views: Mapping[int, ImageView],
    rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    clips: Mapping[int, Sequence[ImageView]] | None = None,
    foretold: int = 0,
) -> None:
    """Remove the index, write pictures and a new index, and remove pictures of an earlier evaluation.

    Args:
        folder: the folder to write.
        roles: the roles of each image to write, by position.
        views: the images, at least those in `roles`, by position.
        rows: one per image of the split.
        metrics: the columns of `rows` that are metrics.
        clips: for videos, all frames of these, by position.
        foretold: of clips, the first frame of which the model has seen nothing; 0 if it sees all.
    """
    (folder / INDEX).unlink(missing_ok=True)  # else it could list pictures of two evaluations
    index: list[dict[str, Any]] = []
    for position, names in roles.items():
        view, row = views[position], rows[position]
        files: dict[str, str] = {}
        for name, picture in sample_pictures(view).items():
            files[name] = f"{position:06d}-{name}.png"
            write_atomically(folder / files[name], to_png(picture))
        if clips:
            files["clip"] = f"{position:06d}-clip.webp"
            write_atomically(folder / files["clip"], animation(clips[position]))
            for name, film in films(clips[position], slots=True, shared=True).items():
                files[f"{name}{FILM}"] = f"{position:06d}-{name}{FILM}.webp"
                write_atomically(folder / files[f"{name}{FILM}"], strip(film))
        values = finite({name: row[name] for name in metrics if name in row})
        entry = {"id": view.id, "position": position, "roles": list(names), "metrics": values, "files": files}
        index.append(entry | ({"frames": len(clips[position]), "foretold": foretold} if clips else {}))
    write_json(folder / INDEX, index)
    written = {file for entry in index for file in entry["files"].values()}
    for path in folder.iterdir():
        if path.suffix in (".png", ".webp") and path.name not in written:
            path.unlink()


def sample_pictures(view: ImageView) -> dict[str, NDArray[np.uint8]]:
    """Return the pictures of one image, uint8 (H, W, 3); `slots` is K times as wide."""
    found: dict[str, NDArray[np.uint8]] = {"image": view.image_HWC}
    if view.reconstruction_HWC is not None:
        found["reconstruction"] = view.reconstruction_HWC
    if view.true_HW is not None:
        found["true"] = paint_truth(view.true_HW)
    if view.predicted_HW is not None:
        found["predicted"] = paint_slots(view.predicted_HW)
    slots_KHWC = view.by_slot()
    if view.parts_KHWC is not None and slots_KHWC is not None:
        found["slots"] = np.concatenate(slots_KHWC, axis=1)
    return found
