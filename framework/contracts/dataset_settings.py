"""What the settings of a dataset may say of its data, without the data being read.

Each is an optional attribute of the dataset's Config: a setting, a property, or a `ClassVar`. The functions
below are the one way in which they are read.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from slotlab.registry import ComponentConfig


@runtime_checkable
class HasVariant(Protocol):
    """Settings of a dataset that is published in several variants, such as CLEVRTex."""

    @property
    def variant(self) -> str | None:
        """The chosen variant, which names evaluations; a protocol or `--variant` may choose another one."""


@runtime_checkable
class HasSplits(Protocol):
    """Settings of a dataset that brings its own splits with it."""

    @property
    def splits(self) -> Iterable[str] | None:
        """The names of the splits, of which `DatasetContext.split` is one; None if the protocol splits it."""


@runtime_checkable
class HasUnsplit(Protocol):
    """Settings of a dataset that may be one test set as a whole, such as a variant for evaluation alone."""

    @property
    def unsplit(self) -> bool:
        """Whether every split is all of the data, whatever the protocol says."""


@runtime_checkable
class HasRendered(Protocol):
    """Settings of a dataset that makes its pictures at `DatasetContext.image_size`."""

    @property
    def rendered(self) -> bool:
        """Whether it does: its pictures are then neither cropped nor resized."""


@runtime_checkable
class HasObjectLimit(Protocol):
    """Settings of a dataset that knows how many objects its pictures have at most."""

    @property
    def object_limit(self) -> int | None:
        """The most objects in a picture, without the background; None if that is not known."""


@runtime_checkable
class HasPublishedData(Protocol):
    """Settings of a dataset that reads data for which numbers have been published."""

    @property
    def published_data(self) -> str | None:
        """The name of that data in published references, such as `clevrtex`; None if there is none."""


@runtime_checkable
class HasPictureSize(Protocol):
    """Settings of a dataset all of whose pictures have one size in their files."""

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Columns and rows; None if that is not known."""


def variant_of(settings: ComponentConfig) -> str | None:
    """Return the variant of a dataset; None for one that has no variants."""
    return settings.variant if isinstance(settings, HasVariant) else None


def splits_of(settings: ComponentConfig) -> tuple[str, ...] | None:
    """Return the names of a dataset's own splits, in their order; None if the protocol splits it."""
    if not isinstance(settings, HasSplits) or settings.splits is None:
        return None
    return tuple(settings.splits)


def is_unsplit(settings: ComponentConfig) -> bool:
    """Return whether every split is all of the data."""
    return isinstance(settings, HasUnsplit) and bool(settings.unsplit)


def is_rendered(settings: ComponentConfig) -> bool:
    """Return whether a dataset makes its pictures at the size that the model sees."""
    return isinstance(settings, HasRendered) and bool(settings.rendered)


def object_limit_of(settings: ComponentConfig) -> int | None:
    """Return the most objects that a picture of a dataset has; None if that is not known."""
    return settings.object_limit if isinstance(settings, HasObjectLimit) else None


def published_data_of(settings: ComponentConfig) -> str | None:
    """Return the name under which numbers for a dataset's data have been published; None if there is none."""
    return settings.published_data if isinstance(settings, HasPublishedData) else None


def picture_size_of(settings: ComponentConfig) -> tuple[int, int] | None:
    """Return (columns, rows) of every picture's file; None if that is not known."""
    return settings.picture_size if isinstance(settings, HasPictureSize) else None
