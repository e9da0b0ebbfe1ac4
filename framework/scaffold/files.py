"""The files of a new component: templates, filled in, and written all or not at all."""

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from slotlab.framework.scaffold.names import class_name
from slotlab.registry import SlotlabError

TEMPLATES = files(__package__).joinpath("templates")
FIRST = ("encoder", "initializer", "grouping", "decoder", "objective", "metric", "dataset")
"""The kinds that are asked for most, which lists begin with."""
LAST = ("kind",)


def kinds() -> list[str]:
    """Return the kinds that there are templates for: a module and a spec each."""
    found = {one.name.removesuffix(".yaml.txt") for one in TEMPLATES.iterdir() if ".yaml." in one.name}
    return [*FIRST, *sorted(found - {*FIRST, *LAST}), *LAST]


def plain_files(kind: str, name: str) -> dict[str, str]:
    """Return the text of each file of a component, by its path: a module, a spec and a test."""
    words = words_of(kind, name)
    module = words["module"]
    words["plugins"] = f"plugins: [{module}.py]\n"
    return {
        f"{module}.py": filled(f"{kind}.py", words),
        "spec.yaml": filled(f"{kind}.yaml", words),
        f"test_{module}.py": filled("test.py", words),
    }


def package_files(kind: str, name: str) -> dict[str, str]:
    """Return the text of each file of a package with a component; once installed, no spec need name it."""
    words = words_of(kind, name) | {"plugins": ""}
    module = words["module"]
    found = {
        "pyproject.toml": filled("package_pyproject.toml", words),
        "README.md": filled("package_README.md", words),
        f"src/{module}.py": filled(f"{kind}.py", words),
        "spec.yaml": filled(f"{kind}.yaml", words),
        f"tests/test_{module}.py": filled("package_test.py", words),
        ".github/workflows/test.yml": filled("package_ci.yml", words),
    }
    return {f"{module}/{path}": text for path, text in found.items()}


def words_of(kind: str, name: str) -> dict[str, str]:
    """Return what stands for each placeholder of the templates."""
    return {
        "kind": kind,
        "command": command_of(kind),
        "name": name,
        "module": module_of(name),
        "Class": class_name(name, kind),
        "Title": " ".join(name.replace("-", "_").split("_")).strip().capitalize(),
        "distribution": distribution_of(name),
        # The spec of dynamics is invalid where the run is not that it names.
        "validation": "" if kind == "dynamics" else "      - run: slotlab validate spec.yaml\n",
    }


def command_of(kind: str) -> str:
    """Return the command that runs the spec of a component; that of a launcher is an ablation."""
    return "ablate" if kind == "launcher" else "train"


def module_of(name: str) -> str:
    """Return the name of a component's module."""
    return name.replace("-", "_")


def distribution_of(name: str) -> str:
    """Return the name of a component's package, as pip knows it."""
    return "slotlab-" + "-".join(part for part in module_of(name).split("_") if part)


def filled(template: str, words: Mapping[str, str]) -> str:
    """Return the text of a template."""
    return Template(TEMPLATES.joinpath(f"{template}.txt").read_text(encoding="utf-8")).substitute(words)


def write_all(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files by their paths in a folder, and return where; all, or none if one cannot be written.

    Raises:
        SlotlabError: if one is there already. Nothing is ever overwritten.
    """
    paths = {folder / name: text for name, text in texts.items()}
    if taken := [str(path) for path in paths if os.path.lexists(path)]:
        verb = "is" if len(taken) == 1 else "are"
        text = f"{', '.join(taken)} {verb} there already, and nothing was written"
        raise SlotlabError(f"{text}; name another folder (--out), or move what is there")
    made: list[Path] = []  # files and folders, in the order in which they can be removed backwards
    try:
        for path, text in paths.items():
            for parent in reversed(path.parents):
                if not parent.is_dir():
                    parent.mkdir()
                    made.append(parent)
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except BaseException:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise
    return list(paths)
