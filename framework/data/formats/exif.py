"""EXIF orientations: cameras store pictures turned, with a tag that many programs ignore.

A mask was drawn on the picture either as it is stored or as it is shown; the tags do not tell which. For
quarter turns of pictures that are not square the sizes tell. Where nothing tells, an error asks the user:
a mask that does not match its picture would otherwise show only as a low score.
"""

from typing import Literal, NamedTuple

from PIL import Image, ImageOps

from slotlab.framework.contracts import DataError, DataProblem

Exif = Literal["apply", "ignore"]
"""`apply` turns each file as its own tag says, `ignore` turns none."""
OTHER: dict[Exif, Exif] = {"apply": "ignore", "ignore": "apply"}
_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap rows and columns."""
_WORDS = {
    1: "upright",
    2: "mirrored",
    3: "upside down",
    4: "mirrored and upside down",
    5: "mirrored and turned by a quarter",
    6: "turned by a quarter",
    7: "mirrored and turned by a quarter",
    8: "turned by a quarter",
}


class Tagged(NamedTuple):
    """The size of a picture as it is stored, and its EXIF orientation."""

    columns: int
    rows: int
    orientation: int = 1

    @classmethod
    def of(cls, image: Image.Image) -> "Tagged":
        """Return the size and orientation of a decoded picture."""
        return cls(image.width, image.height, orientation(image))

    def size(self, exif: Exif) -> tuple[int, int]:
        """Return columns and rows as they are read with this setting."""
        turned = exif == "apply" and self.orientation in _SIDEWAYS
        return (self.rows, self.columns) if turned else (self.columns, self.rows)

    def __str__(self) -> str:
        if self.orientation == 1:
            return "no EXIF orientation"
        return f"the EXIF orientation {self.orientation} ({_WORDS[self.orientation]})"


def orientation(image: Image.Image) -> int:
    """Return a decoded picture's EXIF orientation, 1 to 8; 1 if there is none or it is invalid."""
    found = image.getexif().get(_TAG, 1)
    return found if found in _WORDS else 1


def read_as(image: Image.Image, exif: Exif) -> Image.Image:
    """Return a decoded picture, turned as its tag says if `exif` is `apply`."""
    return ImageOps.exif_transpose(image) if exif == "apply" else image


def choose(image: Tagged, mask: Tagged, setting: Exif | None, *, usual: Exif, names: tuple[str, str]) -> Exif:
    """Return how to read a picture and its mask so that they match.

    Args:
        image: the picture.
        mask: the mask; of one that is drawn from polygons, the size that it is drawn at.
        setting: the user's setting; None decides by the tags and sizes.
        usual: what is chosen if both have the same tag, or if only this makes their sizes equal.
        names: the picture's file, and what the mask is, for messages.

    Raises:
        DataError: if the tags differ and nothing tells which reading is meant, or if the sizes differ.
    """
    chosen = setting or usual
    fits, other_fits = (image.size(how) == mask.size(how) for how in (chosen, OTHER[chosen]))
    if image.orientation == mask.orientation:  # turned or not, they fit or they do not
        return chosen
    if fits and (setting is not None or not other_fits):
        return chosen
    said = f"has {image} and {_size(image.size('ignore'))} pixels as stored, {names[1]} has {mask} and "
    said += _size(mask.size("ignore"))
    if fits:
        text = "nothing tells whether the mask was made for the picture as it is stored or as it is shown; "
        text += "write exif: ignore for the first (nothing is turned), or exif: apply for the second "
        text += "(each file is turned as its own tag says)"
    elif other_fits:
        text = f"they are of one size only with exif: {OTHER[chosen]}"
        text += " (nothing is turned)" if chosen == "apply" else " (each file is turned as its own tag says)"
    else:
        text = "they are of different sizes, turned or not"
    raise DataError(DataProblem(names[0], f"{said}: {text}"))


def refuse_turned(image: Image.Image, name: str) -> None:
    """Refuse a picture with an orientation, for data whose pictures have none.

    Raises:
        DataError: if it has one.
    """
    found = orientation(image)
    if found != 1:
        text = (
            f"has the EXIF orientation {found} ({_WORDS[found]}), which the pictures of this data do not have"
        )
        raise DataError(DataProblem(name, f"{text}; save it upright, without the tag"))


def _size(size: tuple[int, int]) -> str:
    return "{}x{}".format(*size)
