"""The pictures in the page: the same images for every arm, and each arm's best, median and worst.

They are the samples that each evaluation writes into its folder. An arm is represented by the run whose
primary metric is the median over its seeds. The total size of the pictures is bounded.
"""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slotlab.framework.compare.evaluation_facts import PICTURES, tells_pictures
from slotlab.framework.compare.results import Arm, Comparison, MeasuredRun
from slotlab.framework.compare.shortlist import shortlist
from slotlab.framework.report.number_format import number, plural
from slotlab.framework.report.page import ArmTile, EmbeddedPicture, Extreme, Frame, Gallery
from slotlab.framework.runs.folder import SAMPLES
from slotlab.framework.runs.json_shapes import SampleEntry, read_list
from slotlab.framework.system.json_files import read_file
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

TRUTH = {"image": "image", "true": "true masks"}
MADE = {"reconstruction": "reconstruction", "predicted": "predicted masks"}
FILM = "-film"
"""Ends the names of films among the samples, as `framework.figures.samples` writes them."""
ROLES = ("best", "median", "worst")
MOST_ARMS = 24
"""How many arms have pictures: the baseline and the best."""
MOST_BYTES = 12_000_000
"""Size of all pictures in the page together."""
MOST_PIXELS = 192
"""Height of a picture; larger ones are scaled down."""


@dataclass(frozen=True)
class Samples:
    """The samples of the run that represents an arm."""

    arm: int
    name: str
    run: str
    folder: Path
    entries: Sequence[Mapping[str, Any]]
    content: tuple[str, ...] | None
    """The facts that identify the data; None if the evaluation does not identify its images."""

    def with_role(self, role: str) -> list[Mapping[str, Any]]:
        """Return the entries of images with a role, such as `best`."""
        return [entry for entry in self.entries if role in entry["roles"]]


Held = list[tuple[Samples, Mapping[str, Any]]]
"""The entries of one image, each with the samples that it belongs to."""


@dataclass
class PictureEmbedder:
    """Reads pictures into data URIs until their total size reaches the limit."""

    left: int = MOST_BYTES
    refused: int = 0
    damaged: list[str] = field(default_factory=list)
    known: dict[Path, tuple[str, tuple[int, int]] | None] = field(default_factory=dict)

    def picture(
        self, samples: Samples, entry: Mapping[str, Any], kind: str, words: str
    ) -> EmbeddedPicture | None:
        """Return a picture; None if it does not exist, is damaged or exceeds the limit."""
        frames = int(entry.get("frames", 1))
        for wanted, count in ((f"{kind}{FILM}", frames), (kind, 1)):  # the middle frame where no film fits
            name = str(entry["files"].get(wanted, "")) if count > 1 or wanted == kind else ""
            path = samples.folder / name
            if not name or Path(name).name != name or not is_there(path):
                continue
            if path not in self.known:
                self.known[path] = self.read(path, count)
            if found := self.known[path]:
                uri, size = found
                foretold = int(entry.get("foretold", 0))
                return EmbeddedPicture(uri, words, kind == "slots", count, foretold, size)
        return None

    def read(self, path: Path, frames: int) -> tuple[str, tuple[int, int]] | None:
        """Return a picture or film as a data URI, with columns and rows of a frame, and count its size.

        None if it is damaged or does not fit.
        """
        try:
            content, (width, height), kind = smaller(path, frames)
        except Exception as error:  # Pillow raises many kinds of errors for damaged pictures
            self.damaged.append(f"{path} ({describe(error)})")
            return None
        uri = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        if len(uri) > self.left:
            self.refused += 1
            return None
        self.left -= len(uri)
        return uri, (width, height // frames)


def is_there(path: Path) -> bool:
    """Return whether a file exists; False for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def smaller(path: Path, frames: int = 1) -> tuple[bytes, tuple[int, int], str]:
    """Return a picture, scaled down if it has more than `MOST_PIXELS` rows a frame, with its size and kind.

    A picture is a PNG; a film of several frames, which are one above the other, a WebP.
    """
    from PIL import Image

    content, kind = read_file(path) or b"", "PNG" if frames == 1 else "WEBP"
    with Image.open(io.BytesIO(content), formats=[kind]) as picture:
        picture.load()
        if picture.height % frames:
            raise ValueError(f"its {picture.height} rows are not those of {frames} frames")
        if picture.height <= MOST_PIXELS * frames:
            return content, picture.size, kind.lower()
        size = (max(1, round(picture.width * MOST_PIXELS * frames / picture.height)), MOST_PIXELS * frames)
        few = picture.convert("RGB").getcolors(256)  # probably masks, whose colors must not be blended
        method = Image.Resampling.NEAREST if few else Image.Resampling.LANCZOS
        buffer = io.BytesIO()
        options: dict[str, Any] = (
            {"optimize": True} if frames == 1 else {"lossless": bool(few), "quality": 90}
        )
        picture.convert("RGB").resize(size, method).save(buffer, kind, **options)
        return buffer.getvalue(), size, kind.lower()


def gallery(comparison: Comparison) -> Gallery:
    """Return the pictures of a comparison."""
    found, problems = [], []
    for position, arm in enumerate(comparison.arms):
        try:
            samples = samples_of(position, arm, comparison.primary.name)
        except SlotlabError as error:
            problems.append(f"The samples of {arm.name} cannot be read: {error}.")
            continue
        found += [] if samples is None else [samples]
    chosen = [arm.name for arm in shortlist(comparison, MOST_ARMS)]
    first = sorted(found, key=lambda samples: samples.name not in chosen)[:MOST_ARMS]
    shown = sorted(first, key=lambda samples: samples.arm)
    if len(found) > len(shown):
        problems.append(f"Pictures are shown for {len(shown)} of {plural(len(found), 'arm')} with samples.")
    metric, embedder = comparison.primary.name, PictureEmbedder()
    held = shared_frames(shown, embedder, metric)
    extremes = [item for samples in shown if (item := extremes_of(samples, embedder, metric))]
    frames = [with_slots(frame, have, embedder) for frame, have in held]
    if embedder.damaged:
        some = "; ".join(embedder.damaged[:3])
        problems.append(f"{plural(len(embedder.damaged), 'picture')} cannot be read: {some}.")
    if embedder.refused:
        refused, limit = plural(embedder.refused, "picture"), MOST_BYTES // 1_000_000
        problems.append(f"{refused} left out: the pictures may take {limit} MB in total.")
    same = all(len(have) == len(shown) for _, have in held)
    if not same:
        problems.append("The arms were evaluated on different images.")
    return Gallery(frames, extremes, " ".join(problems), same)


def samples_of(position: int, arm: Arm, metric: str) -> Samples | None:
    """Return the samples of the run that represents an arm, or None if no run has any."""
    with_samples = [member for member in arm.members if index_of(member).is_file()]
    if not with_samples:
        return None
    member = middle(with_samples, metric)
    entries = read_list(SampleEntry, index_of(member))
    told = tuple(member.facts.get(name, "") for name in PICTURES)
    content = told if tells_pictures(member.evaluation, certainly=True) else None
    return Samples(position, arm.name, member.run.path.name, index_of(member).parent, entries, content)


def index_of(member: MeasuredRun) -> Path:
    """Return the file that lists an evaluation's samples."""
    return member.evaluation.folder / SAMPLES / "index.json"


def middle(members: Sequence[MeasuredRun], metric: str) -> MeasuredRun:
    """Return the run with the median value (the lower of two); without values, the first run."""
    known = [member for member in members if member.evaluation.values.get(metric) is not None]
    ordered = sorted(known, key=lambda member: (member.evaluation.values[metric], member.run.seed))
    return ordered[(len(ordered) - 1) // 2] if ordered else members[0]


def shared_frames(
    shown: Sequence[Samples], embedder: PictureEmbedder, metric: str
) -> list[tuple[Frame, Held]]:
    """Return the shared images, each with the outputs of the arms that were evaluated on it."""
    frames: list[tuple[Frame, Held]] = []
    every = [(key(s, entry), s, entry) for s in shown for entry in s.with_role("shared")]
    for wanted in sorted(dict.fromkeys(found for found, _, _ in every)):
        have = [(s, entry) for found, s, entry in every if found == wanted]
        truth = pictures(embedder, *have[0], TRUTH)
        tiles = [
            ArmTile(s.arm, score(entry, metric), pictures(embedder, s, entry, MADE)) for s, entry in have
        ]
        frames.append((Frame(wanted[1], truth, [tile for tile in tiles if tile.pictures]), have))
    return [(frame, have) for frame, have in frames if frame.truth or frame.tiles]


def with_slots(frame: Frame, have: Held, embedder: PictureEmbedder) -> Frame:
    """Return the frame with the pictures of each slot, as far as they fit into the limit."""
    slots = []
    for samples, entry in have:
        found = pictures(embedder, samples, entry, {"slots": "slots"})
        slots += [ArmTile(samples.arm, "", found)] if found else []
    return Frame(frame.id, frame.truth, frame.tiles, slots)


def key(samples: Samples, entry: Mapping[str, Any]) -> tuple[int, str, tuple[str, ...]]:
    """Return a key that identifies an image, also across datasets: by its data, or else by its pixels."""
    return int(entry["position"]), str(entry["id"]), samples.content or (pixels_of(samples, entry),)


def pixels_of(samples: Samples, entry: Mapping[str, Any]) -> str:
    """Return a hash of an image's file, or the folder if the file cannot be read."""
    name = str(entry["files"].get("image", ""))
    path = samples.folder / name
    if not name or Path(name).name != name or not is_there(path):
        return str(samples.folder)
    try:
        return hashlib.blake2b(read_file(path) or b"", digest_size=8).hexdigest()
    except SlotlabError:  # reported when it is shown
        return str(samples.folder)


def pictures(
    embedder: PictureEmbedder, samples: Samples, entry: Mapping[str, Any], kinds: Mapping[str, str]
) -> list[EmbeddedPicture]:
    """Return those pictures of one image that exist."""
    whose = "" if kinds is TRUTH else f" by {samples.name}"
    found = (
        embedder.picture(samples, entry, kind, f"{w}{whose}, {entry['id']}") for kind, w in kinds.items()
    )
    return [picture for picture in found if picture is not None]


def score(entry: Mapping[str, Any], metric: str) -> str:
    """Return the image's metric and value as text; its first metric if it lacks this one."""
    values = entry["metrics"]
    name = metric if metric in values else next(iter(values), "")
    value = values.get(name)
    return f"{name} {number(value, 3)}" if value is not None else ""


def ranked_by(entry: Mapping[str, Any], metric: str) -> str:
    """Return the image's first metric, which ranks the images, and the primary one, as text."""
    first = next((name for name, value in entry["metrics"].items() if value is not None), metric)
    return " · ".join(dict.fromkeys(filter(None, (score(entry, first), score(entry, metric)))))


def extremes_of(samples: Samples, embedder: PictureEmbedder, metric: str) -> Extreme | None:
    """Return the best, median and worst images of one run, or None if it has none."""
    kinds = {"image": "image", "reconstruction": "reconstruction", "true": "true masks"} | MADE
    groups = {}
    for role in ROLES:
        tiles = [
            ArmTile(samples.arm, f"{entry['id']} · {ranked_by(entry, metric)}", found)
            for entry in samples.with_role(role)
            if (found := pictures(embedder, samples, entry, kinds))
        ]
        if tiles:
            groups[role] = tiles
    return Extreme(samples.arm, samples.run, groups) if groups else None
