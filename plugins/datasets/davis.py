"""DAVIS 2017 with the masks of the unsupervised task, of all objects that move or catch the eye.

    <root>/JPEGImages/480p/<sequence>/00000.jpg
    <root>/Annotations_unsupervised/480p/<sequence>/00000.png    a palette's index is an object; 255 is void
    <root>/ImageSets/2017/{train,val}.txt                        the sequences of each split

Source: Caelles et al. 2019, "The 2019 DAVIS Challenge on VOS: Unsupervised Multi-Object Segmentation";
davischallenge.org, DAVIS-2017-Unsupervised-trainval-480p.zip.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Len
from pydantic import PositiveInt

from slotlab.framework.contracts import DatasetContext, Downloads, Recognized, Source
from slotlab.framework.data.formats.frame_files import FrameFiles, Span, list_videos
from slotlab.framework.data.formats.listing import Naming
from slotlab.framework.data.formats.mask_pictures import MaskCode
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest

Split = Literal["train", "val"]
_SPLITS: tuple[Split, ...] = ("train", "val")
_VOID = 255
_SIZES = ("480p", "Full-Resolution")
_HOST = "https://data.vision.ee.ethz.ch/csergi/share/davis/"
_LICENSE = "CC BY 4.0 for videos of its authors; the others' are in SOURCES.md of the archive"
_ARCHIVE = "DAVIS-2017-Unsupervised-trainval-{}.zip"


class DAVISConfig(ComponentConfig):
    """Settings of DAVIS 2017."""

    root: SpecPath
    """The folder DAVIS, which holds JPEGImages and ImageSets, or the folder above it."""
    resolution: Literal["480p", "Full-Resolution"] = "480p"
    """The folder of the frames' size."""
    splits: Annotated[tuple[Split, ...], Len(1)] = _SPLITS
    """The splits that are there, as ImageSets/2017 lists them."""
    frames: PositiveInt | None = None
    """How many frames of each sequence are read, from its first; null for all."""

    published_data: ClassVar[str] = "davis"
    downloads: ClassVar[Downloads] = Downloads(
        parts={
            size: (Source(url=_HOST + _ARCHIVE.format(size), license=_LICENSE, unpack="."),)
            for size in _SIZES
        },
        usual=("480p",),
    )
    recognized_data: ClassVar[str] = "the folder of DAVIS 2017"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the splits that a folder lists, and the size of its frames."""
        folder = _folder(path)
        splits = [name for name in _SPLITS if _listing(folder, name).is_file()]
        sizes = [name for name in _SIZES if (folder / "JPEGImages" / name).is_dir()]
        if not splits or not sizes:
            return None
        settings = {"root": str(path), "splits": splits}
        if len(sizes) == 1:
            return Recognized(settings={**settings, "resolution": sizes[0]})
        return Recognized(settings=settings, choices={"resolution": sizes})


def open_davis(config: DAVISConfig, context: DatasetContext) -> FrameFiles:
    """List the sequences of a split.

    Raises:
        ComponentError: for a folder or list that is missing.
    """
    if context.split not in config.splits:
        text = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
        raise ComponentError(text + suggest(context.split, config.splits))
    folder, archive = _folder(config.root), _ARCHIVE.format(config.resolution)
    listing = _listing(folder, context.split)
    names = _read(listing, archive)
    images, masks = (folder / kind / config.resolution for kind in ("JPEGImages", "Annotations_unsupervised"))
    for place in (images, masks):
        if not place.is_dir():
            raise ComponentError(f"there is no folder {place}; {archive} has it", field="root")
    found = list_videos(images, masks, names, Naming(), Span(most=config.frames))
    return FrameFiles(folder, found, MaskCode(void=_VOID), others=[listing])


def _folder(root: Path) -> Path:
    return root / "DAVIS" if (root / "DAVIS").is_dir() else root


def _listing(folder: Path, split: str) -> Path:
    return folder / "ImageSets" / "2017" / f"{split}.txt"


def _read(listing: Path, archive: str) -> Sequence[str]:
    """Return the names of sequences that a file lists."""
    try:
        lines = listing.read_text().split()
    except FileNotFoundError:
        raise ComponentError(f"there is no file {listing}; {archive} has it", field="root") from None
    except (OSError, ValueError) as error:
        raise ComponentError(f"{listing} cannot be read: {error}", field="root") from None
    if not lines:
        raise ComponentError(f"{listing} lists no sequences; {archive} has it", field="root")
    return list(dict.fromkeys(lines))


@hookimpl
def slotlab_datasets() -> Iterable[Component[DAVISConfig]]:
    """Provide `davis`."""
    yield Component(
        name="davis",
        config=DAVISConfig,
        build=open_davis,
        summary="frames of DAVIS 2017 with the masks of its unsupervised task",
    )
