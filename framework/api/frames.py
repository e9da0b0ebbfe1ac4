"""Rows as pandas data frames, for which pandas has to be installed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slotlab.registry.errors import SlotlabError

if TYPE_CHECKING:
    from pandas import DataFrame


def as_frame(rows: Sequence[Mapping[str, Any]]) -> "DataFrame":
    """Return rows as a data frame; columns are all that any row has, in their order.

    Raises:
        SlotlabError: if pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError:
        raise SlotlabError(
            "data frames need pandas, which is not installed; install it with pip install 'slotlab[frames]'"
        ) from None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return DataFrame(list(rows), columns=columns)
