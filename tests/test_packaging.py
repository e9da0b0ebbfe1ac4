"""The folders are the packages slotlab and slotlab.*, whole, and under no other name."""

import importlib
import pkgutil
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("registry", "framework", "plugins")


def modules(layer):
    package = importlib.import_module(f"slotlab.{layer}")
    return [item.name for item in pkgutil.walk_packages(package.__path__, prefix=f"slotlab.{layer}.")]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_source_file_is_installed_and_imports(layer):
    sources = {path.relative_to(ROOT).with_suffix("") for path in (ROOT / layer).rglob("*.py")}
    expected = {"slotlab." + ".".join(path.parts).removesuffix(".__init__") for path in sources}
    found = {f"slotlab.{layer}", *modules(layer)}
    assert found == expected
    for name in found:
        importlib.import_module(name)


def test_the_front_door_is_installed_whole():
    installed = Path(importlib.import_module("slotlab").__file__).parent
    assert {path.name for path in installed.glob("*.py")} == {
        path.name for path in (ROOT / "slotlab").glob("*.py")
    }
    assert (installed / "py.typed").is_file()


def test_slotlab_is_run_as_a_module(tmp_path):
    command = [sys.executable, "-m", "slotlab", "--version"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == f"slotlab {metadata.version('slotlab')}\n"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_refuses_to_be_imported_under_its_bare_name(layer):
    result = subprocess.run(
        [sys.executable, "-c", f"import {layer}"], cwd=ROOT, capture_output=True, text=True
    )
    message = f"ImportError: this folder is the package slotlab.{layer}, but it was imported as '{layer}'"
    assert result.stderr.splitlines()[-1] == message


def test_specs_are_installed():
    shipped = resources.files("slotlab.experiments")
    installed = {str(path.relative_to(str(shipped))) for path in Path(str(shipped)).rglob("*.yaml")}
    assert installed == {
        str(path.relative_to(ROOT / "experiments")) for path in (ROOT / "experiments").rglob("*.yaml")
    }


def test_the_report_page_is_installed_with_its_templates_scripts_and_style():
    for folder in ("templates", "assets"):
        installed = {
            path.name for path in resources.files("slotlab.framework.report").joinpath(folder).iterdir()
        }
        assert installed == {path.name for path in (ROOT / "framework" / "report" / folder).iterdir()}
        assert installed


def test_the_templates_of_new_components_are_installed():
    installed = resources.files("slotlab.framework.scaffold").joinpath("templates")
    sources = ROOT / "framework" / "scaffold" / "templates"
    assert {item.name for item in installed.iterdir()} == {path.name for path in sources.iterdir()}


def test_the_page_of_the_studio_is_installed():
    installed = resources.files("slotlab.framework.studio").joinpath("static")
    sources = ROOT / "framework" / "studio" / "static"
    assert {item.name: item.read_bytes() for item in installed.iterdir()} == {
        path.name: path.read_bytes() for path in sources.iterdir()
    }


def test_the_package_is_typed_and_licensed():
    for layer in LAYERS:
        assert resources.files(f"slotlab.{layer}").joinpath("py.typed").is_file()
    assert metadata.metadata("slotlab")["License-Expression"] == "Apache-2.0"


def test_the_registry_layer_works_without_torch():
    code = "import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None; import slotlab.registry"
    subprocess.run([sys.executable, "-c", code], check=True)
