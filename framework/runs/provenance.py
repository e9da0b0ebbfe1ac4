"""The provenance of a run: versions, commit, hardware, command, sources of components."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.plugin_loading import plugin_copies
from slotlab.framework.plugin_loading.discovery import slotlab_version
from slotlab.framework.spec.identity import refs, run_id
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.system.privacy import nameless_data, nameless_words

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "einops",
    "numpy",
    "pillow",
    "pydantic",
    "pluggy",
    "scikit-learn",
    "scipy",
)


def provenance(
    loaded: LoadedSpec, *, command: list[str], device: torch.device, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect the facts as JSON-ready data, without the user's paths and names."""
    facts = {
        "run_id": run_id(loaded.spec),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": nameless_words(command),
        "spec_file": str(loaded.path),
        "slotlab": slotlab_version(),
        "commit": commit(Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "device": describe_device(device),
        "threads": torch.get_num_threads(),
        "components": components(loaded),
        "plugins": plugin_copies.facts(loaded.registry.files),
        "data": dict(data),
        "plugins_not_loaded": {item.source: item.reason for item in loaded.registry.broken},
    }
    found: dict[str, Any] = nameless_data(facts)
    return found


def components(loaded: LoadedSpec) -> list[dict[str, Any]]:
    """Return each component in use with its version and source, and what it needs installed beside them."""
    used = {(ref.registered.kind, ref.name): ref.registered for ref in refs(loaded.spec)}
    return [
        {
            "kind": kind,
            "name": name,
            "version": item.component.version,
            "source": item.source,
            **({"install": item.component.install} if item.component.install else {}),
        }
        for (kind, name), item in used.items()
    ]


def describe_device(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"


def package_version(name: str) -> str | None:
    """Return the installed version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit(folder: Path) -> str | None:
    """Return the commit of a source checkout, with '+changes' if it was edited, or None."""
    if "site-packages" in folder.parts:
        return None  # an installed copy inside someone else's repository is not of its commit

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        ).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("+changes" if git("status", "--porcelain").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def command_line() -> list[str]:
    """Return the command that was given."""
    return ["slotlab", *sys.argv[1:]]
