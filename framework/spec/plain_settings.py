"""A resolved spec as plain data: read fast and flattened to settings, without schema or plugins."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slotlab.framework.spec.tree import MOST_CHARACTERS, parse
from slotlab.framework.system.json_files import read_file
from slotlab.registry import SlotlabError

WITHOUT_EFFECT = {
    "name",
    "plugins",
    "evaluation",
    "data.protocol.evaluation",
    "data.protocol.mask_resize",
    "data.protocol.mask_size",
    "data.workers",
    "data.store",
    "data.feature_store",
    "data.stores",
    "data.resident",
    "model.decoder.sampling",
    "model.frames_at_once",
    "training.checkpoint",
    "training.speed",
    "training.explosion",
    "training.log_every",
    "training.trackers",
    "training.validate_every",
    "training.watch",
}
"""Settings that do not change the trained weights."""

ADDED: Mapping[str, Any] = {
    "data.seed": 0,
    "data.clip": None,
    "data.features": "full",
    "data.targets": "full",
    "data.augmentation.window": "center",
    "data.protocol.fit": "squash",
    "data.protocol.interpolation": "bilinear",
    "model.projection.transformer": None,
    "training.start": None,
    "training.clip_norm_type": 2,
    "auxiliary": [],
}
"""Settings that specs of earlier versions do not have, and their value where they are missing."""

ADDED_TO_COMPONENTS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("codec", "dvae"): {"norm": "group"},
    ("dataset", "coco_panoptic"): {"overlaps": "smallest"},
    ("encoder", "cnn"): {"last_relu": True},
    ("encoder", "timm"): {"freeze_below": None, "features": "output"},
    ("objective", "temporal_similarity"): {"encoder": None},
    ("initializer", "gaussian"): {"mean_init": "keras", "log_sigma_init": "keras"},
    ("initializer", "learnable"): {"init": "normal", "sigma": 0.0},
    ("position", "linear_grid"): {"points": "ends"},
    ("decoder", "latent_diffusion"): {"heads": None, "positions": "none", "zero_init": True},
    ("decoder", "spatial_broadcast"): {"mix": "parts"},
    ("predictor", "transformer"): {"attention_dim": None},
    ("grouping", "slot_attention"): {
        "attention_dim": None,
        "epsilon_to": "weights",
        "hidden_state": "slots",
        "heads": 1,
        "scale_by": "head",
        "mlp": True,
        "mlp_last": True,
        "activation": "relu",
        "drop_path": 0.0,
        "truncate": "none",
        "readout": False,
    },
    ("model", "slot_dynamics"): {"draws": "each_step"},
    ("objective", "pixel_mse"): {"reduction": "mean"},
    ("schedule", "half_life"): {"decay": "from_start"},
}
"""The same for settings of a component, by the key of its block and its name."""

ADDED_TO_ITEMS: Mapping[str, Mapping[str, Any]] = {
    "training.groups": {"scheduled": True},
}
"""The same for settings of the items of a list, by the list's dotted path."""

_UNDER = tuple(f"{one}." for one in sorted(WITHOUT_EFFECT))

PATH = "(a path)"
"""In place of every path: it matters whether a file is given, not where it lies."""


def has_effect(path: str) -> bool:
    """Return whether the setting at a dotted path can change the trained weights."""
    return path not in WITHOUT_EFFECT and not path.startswith(_UNDER)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of plain data; a list of numbers or words is one value."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        items = enumerate(value)
    else:
        yield path, value
    for key, item in items:
        yield from leaves(item, f"{path}.{key}" if path else str(key))


def with_added(spec: Any, path: str = "") -> Any:
    """Return a plain spec, or what is at a path in one, where blocks have all settings that were added since.

    Those are of `ADDED_TO_COMPONENTS` and `ADDED_TO_ITEMS`, at the values that they had from the beginning.
    """
    if isinstance(spec, list):
        added = ADDED_TO_ITEMS.get(path, {})
        whole = [with_added(item) for item in spec]
        return [{**added, **item} if isinstance(item, Mapping) else item for item in whole]
    if not isinstance(spec, Mapping):
        return spec
    block = {name: with_added(item, f"{path}.{name}" if path else name) for name, item in spec.items()}
    kind = path.rpartition(".")[-1]
    return {**ADDED_TO_COMPONENTS.get((kind, str(block.get("name"))), {}), **block}


def load_dumped(path: Path) -> Any:
    """Read what `spec.tree.dump` wrote as plain data, faster than `parse` does and without lines.

    Raises:
        SlotlabError: if the file does not exist, is not YAML, or exceeds the bounds of a spec.
    """
    content = read_file(path, 4 * MOST_CHARACTERS)
    if content is None:
        raise SlotlabError(f"{path}: there is no such file")
    try:
        return parse(content.decode(), origin=str(path), folder=path.parent, fast=True).plain()
    except UnicodeDecodeError as error:
        raise SlotlabError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
