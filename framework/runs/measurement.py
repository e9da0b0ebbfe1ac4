"""What an evaluation measured, according to its summary, and whether two evaluations measured the same.

Summaries are read here as plain data, without torch. Those of earlier versions lack some facts; a fact that
one of two summaries lacks is not compared.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SummaryData = Mapping[str, Any]
LAST = "last"
BEST = "best"
GENERATED = "generated"
"""The beginning of the fingerprint of generated images; in earlier versions the whole fingerprint."""
UNTOLD = "untold"
"""The beginning of the fingerprint of a dataset that cannot detect whether its files changed."""
SETTINGS = (
    "dataset",
    "variant",
    "split",
    "protocol",
    "filter",
    "image_size",
    "mask_size",
    "value_range",
    "slots",
    "sampling",
    "clip",
    "told",
    "max_images",
    "mask_source",
)
"""What determines the numbers besides weights, images and the definitions of metrics."""
MASKS = "mask_source"
REVISION = "revision"
"""How many other definitions of its metrics an evaluation came after, in the same run, of the same images; no
entry stands for 0. Of two that define a metric differently, the one with the greater number is newer."""


def is_readable(summary: Any) -> bool:
    """Return whether plain data, perhaps from a damaged file, can be read as a summary by this module."""
    try:
        return bool(settings_of(summary)) and bool(pictures_of(summary)) and bool(definitions_of(summary))
    except (TypeError, AttributeError, ValueError, LookupError):
        return False


def settings_of(summary: SummaryData) -> dict[str, Any]:
    """Return the settings of an evaluation, with its checkpoint and replaced plugins."""
    found = {name: summary[name] for name in SETTINGS if name in summary}
    return {
        **found,
        "checkpoint": summary.get("checkpoint", LAST),
        "replaced_plugins": summary.get("replaced_plugins") or {},
    }


def pictures_of(summary: SummaryData) -> dict[str, Any]:
    """Return what identifies the images that were evaluated."""
    data: Mapping[str, Any] = summary.get("data") or {}
    found = {"fingerprint": data.get("fingerprint"), "images": summary.get("images")}
    found["skipped"] = len(data.get("skipped") or ())
    if not is_generated(summary):  # whose fingerprint holds the settings
        found |= {name: data[name] for name in ("settings", "seed") if name in data}
    return found


def is_generated(summary: SummaryData) -> bool:
    """Return whether the images were generated."""
    return str((summary.get("data") or {}).get("fingerprint")).startswith(GENERATED)


def is_untold(summary: SummaryData) -> bool:
    """Return whether a summary of an earlier version leaves open which generated images it used."""
    return (summary.get("data") or {}).get("fingerprint") == GENERATED


def definitions_of(summary: SummaryData) -> dict[str, Any]:
    """Return what was computed: metrics by their definitions, baselines, composed pictures."""
    metrics = summary.get("metrics") or {}
    defined = {
        name: [item.get("version"), item.get("settings")]
        for name, item in metrics.items()
        if isinstance(item, Mapping)
    }
    return {
        "metrics": defined,
        "baselines": sorted(summary.get("baselines") or summary.get("methods") or ()),
        "composition": summary.get("composition"),
    }


def same_measurement(one: SummaryData, other: SummaryData, *, masks: bool = True) -> bool:
    """Return whether two evaluations used the same images in the same way.

    `masks` says whether the source of masks is compared. The metrics are not compared here (see `covers`).
    """
    pairs = [(settings_of(one), settings_of(other)), (pictures_of(one), pictures_of(other))]
    ignored = set() if masks else {MASKS}
    if is_generated(one) and is_generated(other) and (is_untold(one) or is_untold(other)):
        ignored.add("fingerprint")
    return all(
        plain(a[name]) == plain(b[name])
        for a, b in pairs
        for name in a.keys() & b.keys()
        if name not in ignored
    )


def covers(new: SummaryData, old: SummaryData) -> bool:
    """Return whether an evaluation computes everything that another one of the same images has."""
    one, other = definitions_of(new), definitions_of(old)
    return (
        all(one["metrics"].get(name) == item for name, item in other["metrics"].items())
        and set(one["baselines"]) >= set(other["baselines"]) - {"model"}
        and (not old.get("set_metrics") or plain(new.get("composition")) == plain(old.get("composition")))
    )


def redefines(one: SummaryData, other: SummaryData) -> bool:
    """Return whether two evaluations define a metric that both have in different ways."""
    mine, theirs = (definitions_of(each)["metrics"] for each in (one, other))
    return any(plain(mine[name]) != plain(theirs[name]) for name in mine.keys() & theirs.keys())


def checkpoint_name(checkpoint: str | int) -> str:
    """Return how messages name a checkpoint: `last`, `best` or `step 300`."""
    return f"step {checkpoint}" if isinstance(checkpoint, int) else str(checkpoint)


def is_own(summary: SummaryData, spec: Mapping[str, Any]) -> bool:
    """Return whether an evaluation is the one that its run's resolved spec declares."""
    declared, data = block(spec.get("evaluation")), block(spec.get("data"))
    dataset, protocol = block(data.get("dataset")), block(data.get("protocol"))
    wanted = {
        "split": declared.get("split"),
        "mask_source": declared.get("mask_source"),
        "checkpoint": declared.get("checkpoint", LAST),
    }
    names = {
        "dataset": dataset.get("name"),
        **({"variant": dataset["variant"]} if "variant" in dataset else {}),
    }
    wanted |= {key: value for key, value in names.items() if key in summary}
    told = {"checkpoint": LAST, **summary}
    seen = data.get("value_range") or protocol.get("value_range")
    return (
        not summary.get("changes")
        and not summary.get("replaced_plugins")
        and (seen is None or summary.get("value_range") in (None, seen))
        and str(summary.get("protocol")).partition(" (")[0] == protocol.get("name")
        and all(told.get(key) == value for key, value in wanted.items())
    )


def block(value: Any) -> Mapping[str, Any]:
    """Return a section of a spec, or a component, as a mapping: its settings, or its name alone."""
    if isinstance(value, Mapping):
        return value
    return {"name": str(value)} if isinstance(value, str) else {}


def is_stale(old: SummaryData, new: SummaryData) -> bool:
    """Return whether the figures of an evaluation are outdated once another one replaces it."""
    every = [
        {**settings_of(one), **pictures_of(one), **definitions_of(one), "step": one.get("step")}
        for one in (old, new)
    ]
    return bool(plain(every[0]) != plain(every[1]))


def digest(*parts: Any) -> str:
    """Return a short hash of plain data: eight hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def plain(value: Any) -> Any:
    """Return data as it is after a round trip through JSON: tuples become lists."""
    return json.loads(json.dumps(value))


def measured_things(summary: Mapping[str, Any]) -> str:
    """Return what each row of an evaluation is about, in words: `images`, `videos` or `clips` of videos."""
    clip = summary.get("clip")
    if not isinstance(clip, Mapping):
        return "images"
    return "videos" if clip.get("frames") is None else "clips"


def clip_words(summary: Mapping[str, Any]) -> list[str]:
    """Return what tells an evaluation of clips from the usual one: what a model was told, the first frame.

    Empty where nothing was told, and frames are measured from the first one on.
    """
    told, clip = summary.get("told"), summary.get("clip")
    first = clip.get("from") if isinstance(clip, Mapping) else None
    return [f"told {told} of the first frame"] * bool(told) + [f"from frame {first}"] * bool(first)


def changed_words(summary: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ from the run's spec, but those that `clip_words` says."""
    said = "evaluation.from_frame" if summary.get("changes", {}).get("evaluation.from_frame") else None
    return [
        f"{path} {'none' if value is None else value}"
        for path, value in summary.get("changes", {}).items()
        if path != said
    ]
