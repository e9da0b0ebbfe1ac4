"""Pictures of evaluations, inside the page: the same images for every arm, and each arm's best and worst.

They are the samples that each evaluation leaves in its folder. An arm is shown by the run whose
primary metric is the median of its seeds. What all pictures may take is bounded.
"""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slotlab.framework.compare.facts import PICTURES, tells_pictures
from slotlab.framework.compare.results import Arm, Comparison, Member
from slotlab.framework.report.formats import number, plural
from slotlab.framework.report.page import Extreme, Frame, Gallery, Picture, Tile
from slotlab.framework.runs.folder import SAMPLES
from slotlab.framework.runs.stored import SampleEntry, read_list
from slotlab.framework.system.json_files import read_file
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

TRUTH = {"image": "image", "true": "true masks"}
MADE = {"reconstruction": "reconstruction", "predicted": "predicted masks"}
ROLES = ("best", "median", "worst")
MOST_ARMS = 24
"""Arms that are shown; the baseline and the first others."""
MOST_BYTES = 12_000_000
"""What all pictures together may take in the page."""
MOST_PIXELS = 192
"""Rows of a picture; larger ones are made smaller."""


@dataclass(frozen=True)
class Samples:
    """The samples of the run that stands for an arm."""

    arm: int
    name: str
    run: str
    folder: Path
    entries: Sequence[Mapping[str, Any]]
    content: tuple[str, ...] | None
    """What tells images of other data apart; None where the evaluation does not tell what it measured."""

    def with_role(self, role: str) -> list[Mapping[str, Any]]:
        """Return the images of a role, by their place in the split."""
        return [entry for entry in self.entries if role in entry["roles"]]


Held = list[tuple[Samples, Mapping[str, Any]]]
"""Entries of one image, and the samples that they are of."""


@dataclass
class Album:
    """Reads pictures until they take as much as they may."""

    left: int = MOST_BYTES
    refused: int = 0
    damaged: list[str] = field(default_factory=list)
    known: dict[Path, str | None] = field(default_factory=dict)

    def picture(self, samples: Samples, entry: Mapping[str, Any], kind: str, words: str) -> Picture | None:
        """Return one picture, or None if it is not there or there is no room."""
        name = str(entry["files"].get(kind, ""))
        path = samples.folder / name
        if not name or Path(name).name != name or not is_there(path):
            return None
        if path not in self.known:
            self.known[path] = self.read(path)
        uri = self.known[path]
        return None if uri is None else Picture(uri, words, wide=kind == "slots")

    def read(self, path: Path) -> str | None:
        """Return a PNG file as a URI, and count it."""
        try:
            content = smaller(path)
        except Exception as error:  # Pillow tells of a damaged picture in many ways
            self.damaged.append(f"{path} ({describe(error)})")
            return None
        uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        if len(uri) > self.left:
            self.refused += 1
            return None
        self.left -= len(uri)
        return uri


def is_there(path: Path) -> bool:
    """Return whether there is a file; a name that no file can have names none."""
    try:
        return path.is_file()
    except OSError:
        return False


def smaller(path: Path) -> bytes:
    """Return a PNG with at most `MOST_PIXELS` rows, as it is if it has no more."""
    from PIL import Image

    content = read_file(path) or b""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        picture.load()
        if picture.height <= MOST_PIXELS:
            return content
        size = (max(1, round(picture.width * MOST_PIXELS / picture.height)), MOST_PIXELS)
        few = picture.convert("RGB").getcolors(256)  # masks, whose colors must not be mixed
        method = Image.Resampling.NEAREST if few else Image.Resampling.LANCZOS
        buffer = io.BytesIO()
        picture.convert("RGB").resize(size, method).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


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
    first = sorted(found, key=lambda samples: samples.name != comparison.baseline)[:MOST_ARMS]
    shown = sorted(first, key=lambda samples: samples.arm)
    if len(found) > len(shown):
        problems.append(f"Pictures are shown of {len(shown)} of {plural(len(found), 'arm')} that have some.")
    metric, album = comparison.primary.name, Album()
    held = shared_frames(shown, album, metric)
    extremes = [item for samples in shown if (item := extremes_of(samples, album, metric))]
    frames = [with_slots(frame, have, album) for frame, have in held]
    if album.damaged:
        some = "; ".join(album.damaged[:3])
        problems.append(f"{plural(len(album.damaged), 'picture')} cannot be read: {some}.")
    if album.refused:
        refused, limit = plural(album.refused, "picture"), MOST_BYTES // 1_000_000
        problems.append(f"{refused} left out: all together may take {limit} MB in this file.")
    same = all(len(have) == len(shown) for _, have in held)
    if not same:
        problems.append("The arms were measured on different images.")
    return Gallery(frames, extremes, " ".join(problems), same)


def samples_of(position: int, arm: Arm, metric: str) -> Samples | None:
    """Return the samples of the run that stands for an arm, or None if no run has any."""
    with_samples = [member for member in arm.members if index_of(member).is_file()]
    if not with_samples:
        return None
    member = middle(with_samples, metric)
    entries = read_list(SampleEntry, index_of(member))
    told = tuple(member.facts.get(name, "") for name in PICTURES)
    content = told if tells_pictures(member.evaluation, certainly=True) else None
    return Samples(position, arm.name, member.run.path.name, index_of(member).parent, entries, content)


def index_of(member: Member) -> Path:
    """Return the file that lists an evaluation's samples."""
    return member.evaluation.folder / SAMPLES / "index.json"


def middle(members: Sequence[Member], metric: str) -> Member:
    """Return the run whose metric is the median; the lower one of two, and the first without values."""
    known = [member for member in members if member.evaluation.values.get(metric) is not None]
    ordered = sorted(known, key=lambda member: (member.evaluation.values[metric], member.run.seed))
    return ordered[(len(ordered) - 1) // 2] if ordered else members[0]


def shared_frames(shown: Sequence[Samples], album: Album, metric: str) -> list[tuple[Frame, Held]]:
    """Return the images that runs show, each with what the arms that were measured on it made of it."""
    frames: list[tuple[Frame, Held]] = []
    every = [(key(s, entry), s, entry) for s in shown for entry in s.with_role("shared")]
    for wanted in sorted(dict.fromkeys(found for found, _, _ in every)):
        have = [(s, entry) for found, s, entry in every if found == wanted]
        truth = pictures(album, *have[0], TRUTH)
        tiles = [Tile(s.arm, score(entry, metric), pictures(album, s, entry, MADE)) for s, entry in have]
        frames.append((Frame(wanted[1], truth, [tile for tile in tiles if tile.pictures]), have))
    return [(frame, have) for frame, have in frames if frame.truth or frame.tiles]


def with_slots(frame: Frame, have: Held, album: Album) -> Frame:
    """Return the frame with what each slot holds, as far as there is room."""
    slots = []
    for samples, entry in have:
        found = pictures(album, samples, entry, {"slots": "slots"})
        slots += [Tile(samples.arm, "", found)] if found else []
    return Frame(frame.id, frame.truth, frame.tiles, slots)


def key(samples: Samples, entry: Mapping[str, Any]) -> tuple[int, str, tuple[str, ...]]:
    """Return what tells one image from another, also of other data: what it is, or else its pixels."""
    return int(entry["position"]), str(entry["id"]), samples.content or (pixels_of(samples, entry),)


def pixels_of(samples: Samples, entry: Mapping[str, Any]) -> str:
    """Return a hash of the file of an image; of one that is not there, its folder."""
    name = str(entry["files"].get("image", ""))
    path = samples.folder / name
    if not name or Path(name).name != name or not is_there(path):
        return str(samples.folder)
    try:
        return hashlib.blake2b(read_file(path) or b"", digest_size=8).hexdigest()
    except SlotlabError:  # told of where it is to be shown
        return str(samples.folder)


def pictures(
    album: Album, samples: Samples, entry: Mapping[str, Any], kinds: Mapping[str, str]
) -> list[Picture]:
    """Return the pictures of one image that are there."""
    whose = "" if kinds is TRUTH else f" by {samples.name}"
    found = (album.picture(samples, entry, kind, f"{w}{whose}, {entry['id']}") for kind, w in kinds.items())
    return [picture for picture in found if picture is not None]


def score(entry: Mapping[str, Any], metric: str) -> str:
    """Return the image's metric in words; the first metric if it lacks the wanted one."""
    values = entry["metrics"]
    name = metric if metric in values else next(iter(values), "")
    value = values.get(name)
    return f"{name} {number(value, 3)}" if value is not None else ""


def ranked_by(entry: Mapping[str, Any], metric: str) -> str:
    """Return the first metric, by which images are best or worst, and the one that decides, in words."""
    first = next((name for name, value in entry["metrics"].items() if value is not None), metric)
    return " · ".join(dict.fromkeys(filter(None, (score(entry, first), score(entry, metric)))))


def extremes_of(samples: Samples, album: Album, metric: str) -> Extreme | None:
    """Return the best, median and worst images of one run, or None if it has none."""
    kinds = {"image": "image", "reconstruction": "reconstruction", "true": "true masks"} | MADE
    groups = {}
    for role in ROLES:
        tiles = [
            Tile(samples.arm, f"{entry['id']} · {ranked_by(entry, metric)}", found)
            for entry in samples.with_role(role)
            if (found := pictures(album, samples, entry, kinds))
        ]
        if tiles:
            groups[role] = tiles
    return Extreme(samples.arm, samples.run, groups) if groups else None
