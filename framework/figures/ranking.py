"""Rank the images of an evaluation by a metric, to show the best, the median and the worst."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slotlab.framework.contracts import Metric
from slotlab.framework.evaluation.rows import ranked

LONGEST = 16
"""Letters of an id beside a picture."""


@dataclass(frozen=True)
class Ranking:
    """The images of an evaluation, ranked by one metric, or in their order where no metric has a value."""

    metric: str | None
    """None for images in their order."""
    order: Sequence[int]
    """Positions from best to worst; images without a value are left out."""
    rows: Sequence[Mapping[str, Any]]
    """The model's rows of the evaluation, one per image."""

    @classmethod
    def by(
        cls, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Metric], prefer: str = ""
    ) -> "Ranking | None":
        """Rank by the metric `prefer` if it has values, else by the first that has; None if none has."""
        names = sorted(metrics, key=lambda name: name != prefer)
        for name in names:
            if rows and name in rows[0]:
                order = ranked(list(rows), name, higher_is_better=metrics[name].higher_is_better)  # type: ignore[arg-type]
                if order:
                    return cls(name, order, rows)
        return None

    @classmethod
    def in_order(cls, rows: Sequence[Mapping[str, Any]]) -> "Ranking":
        """Take the images in their order, the first one first."""
        return cls(None, range(len(rows)), rows)

    @property
    def title(self) -> str:
        """The end of a title: `, by ari`."""
        return ", the first ones" if self.metric is None else f", by {self.metric}"

    def best(self, count: int) -> list[int]:
        """Return the positions of the best images, the best first."""
        return list(self.order[:count])

    def ends_and_middle(self, count: int = 2) -> dict[str, list[int]]:
        """Return the positions of the best, median and worst images: `best`, `median` and `worst`.

        If there are few images, one may be listed under several names. Without a metric as many are `first`.
        """
        if self.metric is None:
            return {"first": self.best(3 * count)}
        middle = max(0, min(len(self.order) // 2, len(self.order) - count))
        return {
            "best": self.best(count),
            "median": list(self.order[middle : middle + count]),
            "worst": list(self.order[-count:]),
        }

    def words(self, position: int) -> str:
        """Return the id of an image, and the metric with its value, if there is one, as a second line."""
        row = self.rows[position]
        name = str(row["id"])
        shown = (
            name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
        )  # the end is what tells them apart
        return shown if self.metric is None else f"{shown}\n{self.metric} {row[self.metric]:.3f}"


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return values with None in place of NaN and infinity, which JSON cannot hold."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
