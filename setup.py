"""Map the top-level folders onto the package `slotlab`: the front door itself, and a subpackage a layer."""

from setuptools import find_packages, setup

LAYERS = ("registry", "framework", "plugins")
found = [f"{layer}.{name}" for layer in LAYERS for name in find_packages(layer)]
setup(
    packages=["slotlab", *(f"slotlab.{name}" for name in (*LAYERS, *found, "experiments"))],
    package_dir={"slotlab": "slotlab", **{f"slotlab.{layer}": layer for layer in (*LAYERS, "experiments")}},
    package_data={
        "": ["py.typed"],
        "slotlab.experiments": ["**/*.yaml", "*.json"],
        "slotlab.framework.evaluation.published": ["*.yaml"],
        "slotlab.framework.report": ["templates/*.html", "assets/*"],
        "slotlab.framework.scaffold": ["templates/*.txt"],
        "slotlab.framework.studio": ["static/*"],
    },
)
