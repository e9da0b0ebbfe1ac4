"""Rows of facts, as the listing functions return them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from slotlab.framework.api.frames import as_frame

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class Records(Sequence[Mapping[str, Any]]):
    """A sequence of rows, each a mapping of JSON-ready data; a notebook shows them as a table."""

    rows: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        return self.rows[index]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"<Records: {len(self)} row{'' if len(self) == 1 else 's'}>"

    def frame(self) -> "DataFrame":
        """Return a data frame; what is nested has names with dots, such as `metrics.ari`.

        Raises:
            SlotlabError: if pandas is not installed.
        """
        return as_frame([_flat(row) for row in self.rows])

    def _repr_html_(self) -> str | None:
        try:
            html: str = self.frame().to_html(index=False)
        except Exception:  # no pandas: the notebook shows `repr`
            return None
        return html


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found
