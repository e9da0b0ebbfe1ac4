"""A comparison for other programs: one row per arm and metric (CSV), or everything (JSON)."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slotlab.framework.compare.differing_settings import setting_text
from slotlab.framework.compare.further import further_json
from slotlab.framework.compare.results import (
    Arm,
    Binding,
    ComparedMetric,
    Comparison,
    Difference,
    Interval,
    SequentialTest,
    Statistics,
    UnpairedDifference,
)
from slotlab.framework.system.privacy import nameless_data


def as_csv(comparison: Comparison) -> str:
    """Return one row for each arm and metric, with all digits; cells without a value are empty."""
    rows = as_rows(comparison)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row for each arm and metric, by column; None where there is no value."""
    return [_row(comparison, arm, metric) for arm in comparison.arms for metric in comparison.metrics]


def _row(comparison: Comparison, arm: Arm, metric: ComparedMetric) -> dict[str, Any]:
    one = arm.statistics[metric.name]
    difference = arm.differences.get(metric.name)
    return {
        "arm": arm.name,
        "metric": metric.name,
        "higher_is_better": str(metric.higher_is_better).lower(),
        "seeds": one.count,
        "failed": len(arm.failed),
        "unbound": None if comparison.failed_below is None else len(arm.not_bound),
        **_binding_cells(arm.binding, metric.name),
        **{name: getattr(one, name) for name in ("mean", "std", "median", "iqm")},
        **_ends("", one.interval),
        "baseline": comparison.baseline,
        "pairs": None if difference is None else difference.count,
        "difference": None if difference is None else difference.mean,
        "difference_std": None if difference is None else difference.std,
        **_ends("difference_", None if difference is None else difference.interval),
        **{name: None if difference is None else getattr(difference, name) for name in _TESTED},
        **_unpaired_cells(arm.unpaired.get(metric.name)),
        **{name: getattr(arm.cost, name) for name in _COSTS},
        **{
            path: setting_text(arm.settings[path]) if path in arm.settings else None
            for path in comparison.differing
        },
    }


def _unpaired_cells(one: UnpairedDifference | None) -> dict[str, Any]:
    return {
        "unpaired_difference": None if one is None else one.mean,
        **_ends("unpaired_", None if one is None else one.interval),
        **{f"unpaired_{name}": None if one is None else getattr(one, name) for name in _UNPAIRED},
    }


def _binding_cells(binding: Binding | None, metric: str) -> dict[str, Any]:
    given = None if binding is None else binding.given_bound[metric]
    return {
        "bound": None if binding is None else binding.bound,
        "binding_rate": None if binding is None else binding.rate,
        **_ends("binding_", None if binding is None else binding.interval),
        "binding_p": None if binding is None else binding.p,
        "binding_p_holm": None if binding is None else binding.p_holm,
        "mean_if_bound": None if given is None else given.mean,
        **{
            f"{end}_if_bound": value
            for end, value in _ends("", None if given is None else given.interval).items()
        },
    }


_TESTED = (
    *("t", "p", "p_holm", "effect", "detectable", "detectable_difference", "least_p"),
    *("correlation", "detectable_holm", "detectable_difference_holm"),
)
_UNPAIRED = ("t", "df", "p", "p_holm", "detectable_difference", "detectable_difference_holm")
_COSTS = ("seconds", "device_hours", "images_per_second", "memory", "flops", "energy_kwh", "parameters")


def _ends(prefix: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {f"{prefix}low": low, f"{prefix}high": high}


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything as JSON-ready data without users' paths; None where there is no value."""
    found: dict[str, Any] = nameless_data(_everything(comparison, comparison.places))
    return found


def _everything(comparison: Comparison, places: Mapping[Path, str]) -> dict[str, Any]:
    return {
        "format": 1,
        "title": comparison.title,
        "question": comparison.question,
        "measured": dict(comparison.measured),
        "metrics": {
            metric.name: {"higher_is_better": metric.higher_is_better, "bounds": list(metric.bounds)}
            for metric in comparison.metrics
        },
        "primary": comparison.primary.name,
        "baseline": comparison.baseline,
        "failed_below": comparison.failed_below,
        "declared": None if comparison.declared is None else asdict(comparison.declared),
        "sequential": None if comparison.sequential is None else asdict(comparison.sequential),
        "differing": list(comparison.differing),
        "arms": [_arm(arm, places) for arm in comparison.arms],
        "further": None if comparison.further is None else further_json(comparison.further),
        "left_out": {places[item.path]: item.reason for item in comparison.left_out},
        "notes": list(comparison.notes),
        "published": [dict(row) for row in comparison.published],
    }


def _arm(arm: Arm, places: Mapping[Path, str]) -> dict[str, Any]:
    return {
        "name": arm.name,
        "settings": dict(arm.settings),
        "runs": [
            {
                "run": places[member.run.path],
                "run_id": member.run.run_id,
                "seed": member.run.seed,
                "evaluation": member.evaluation.name,
                "values": {name: member.evaluation.values.get(name) for name in arm.statistics},
            }
            for member in arm.members
        ],
        "failed": {places[run.path]: run.reason for run in arm.failed},
        "unbound": [places[member.run.path] for member in arm.not_bound],
        "binding": None if arm.binding is None else _binding(arm.binding),
        "statistics": {name: _statistics(one) for name, one in arm.statistics.items()},
        "with_failed": {name: _statistics(one) for name, one in arm.with_failed.items()},
        "differences": {name: _difference(one) for name, one in arm.differences.items()},
        "unpaired": {name: _unpaired(one) for name, one in arm.unpaired.items()},
        "sequential": None if arm.sequential is None else _sequential(arm.sequential),
        "image_differences": {
            name: [
                {"seed": one.seed, "images": one.images, "mean": one.mean, "interval": _pair(one.interval)}
                for one in items
            ]
            for name, items in arm.image_differences.items()
        },
        "cost": {**{name: getattr(arm.cost, name) for name in _COSTS}, "devices": list(arm.cost.devices)},
    }


def _binding(one: Binding) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in ("bound", "runs", "rate", "p", "p_holm")},
        "interval": _pair(one.interval),
        "given_bound": {name: _statistics(given) for name, given in one.given_bound.items()},
    }


def _statistics(one: Statistics) -> dict[str, Any]:
    return {
        "seeds": one.count,
        **{name: getattr(one, name) for name in ("mean", "std", "median", "iqm")},
        "interval": _pair(one.interval),
        "by_seed": {str(seed): value for seed, value in one.by_seed.items()},
    }


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "pairs": one.count,
        **{name: getattr(one, name) for name in ("mean", "std", *_TESTED)},
        "interval": _pair(one.interval),
        "by_seed": {str(seed): value for seed, value in one.by_seed.items()},
        "note": one.note,
    }


def _unpaired(one: UnpairedDifference) -> dict[str, Any]:
    return {
        "seeds": list(one.counts),
        **{name: getattr(one, name) for name in ("mean", *_UNPAIRED)},
        "interval": _pair(one.interval),
    }


def _sequential(one: SequentialTest) -> dict[str, Any]:
    return {**asdict(one), "interval": _pair(one.interval)}


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
