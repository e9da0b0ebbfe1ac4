"""New components from templates: what `slotlab new` does."""

import shlex
from pathlib import Path
from typing import Any

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.scaffold.files import (
    command_of,
    kinds,
    module_of,
    package_files,
    plain_files,
    write_all,
)
from slotlab.framework.scaffold.names import check_module, check_name, kind_named


def new(kind: str, name: str, folder: str | Path = ".", *, package: bool = False) -> dict[str, Any]:
    """Write a working component of a kind with a spec and a test, and return the files and what to do next.

    Does what `slotlab new` does, and overwrites nothing.

    >>> import slotlab
    >>> slotlab.new("metric", "hits", "begun")["next"][0]
    'slotlab check begun/hits.py'

    Args:
        kind: of the component; or `kind`, which makes a kind of one's own and an encoder with a part of it.
        name: of the component.
        folder: where the files go; it is made if it is not there.
        package: whether to write a folder with a package that can be installed.

    Raises:
        SlotlabError: if there is no template for the kind, the name is invalid or taken, or a file is there.
    """
    registry, folder = load_registry(), Path(folder)
    kind = kind_named(kind, registry, kinds())
    check_name(name, kind, registry)
    check_module(module_of(name))
    written = write_all(folder, (package_files if package else plain_files)(kind, name))
    return {
        "kind": kind,
        "name": name,
        "files": [str(path) for path in written],
        "next": (package_commands if package else plain_commands)(kind, name, folder),
    }


def plain_commands(kind: str, name: str, folder: Path) -> list[str]:
    """Return the commands to check, train and test a component in a file."""
    module, spec, test = (
        shlex.quote(str(folder / file))
        for file in (f"{module_of(name)}.py", "spec.yaml", f"test_{module_of(name)}.py")
    )
    named = f" --plugin {module}" if kind == "launcher" else ""  # an ablation names no plugin files itself
    run = f"slotlab {command_of(kind)} {spec}{named}"
    return [f"slotlab check {module}", run, f"python -m pytest {test}"]


def package_commands(kind: str, name: str, folder: Path) -> list[str]:
    """Return the commands to install a package, to check it by its test, which needs that, and to train."""
    place = folder / module_of(name)
    installed, spec = f"{'' if place.is_absolute() else './'}{place}[test]", str(place / "spec.yaml")
    return [
        f"python -m pip install -e {shlex.quote(installed)}",
        f"python -m pytest {shlex.quote(str(place))}",
        f"slotlab {command_of(kind)} {shlex.quote(spec)}",
    ]
