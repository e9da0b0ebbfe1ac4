"""Installed plugins, found through entry points of a distribution on `sys.path`."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import load_spec
from slotlab.registry import Broken, PluginError

Plugin = Callable[..., Path]
Write = Callable[[str, str], Path]
Install = Callable[[str, str, str], None]
NO_API = "it does not say which hooks it was written for; add the line 'SLOTLAB_API = 1'"


@pytest.fixture
def install(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a distribution with one entry point."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def install_distribution(name: str, version: str, module: str) -> None:
        folder = f"site/{name.replace('-', '_')}-{version}.dist-info"
        write(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        write(f"{folder}/entry_points.txt", f"[slotlab.plugins]\n{module} = {module}\n")

    return install_distribution


@pytest.fixture(autouse=True)
def forget_installed(tmp_path: Path) -> Iterator[None]:
    yield
    site = str(tmp_path / "site")
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(site):
            del sys.modules[name]


def test_an_installed_plugin_is_found(install: Install, plugin: Plugin) -> None:
    plugin("site/good_module.py", "good")
    install("slotlab-good", "0.3.0", "good_module")
    registry = load_registry(strict=True)
    found = registry.find("encoder", "good")
    assert found is not None
    assert (found.source, found.path, found.identity) == ("slotlab-good 0.3.0", None, "encoder:good=1")
    assert registry.broken == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n", NO_API),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("raise SystemExit\n", "SystemExit"),
        ("import nosuch\n", "ModuleNotFoundError: No module named 'nosuch'"),
    ],
)
def test_a_broken_one_is_set_aside(
    install: Install, plugin: Plugin, write: Write, text: str, reason: str
) -> None:
    write("site/bad_module.py", text)
    install("slotlab-bad", "1.2", "bad_module")
    plugin("site/good_module.py", "good")
    install("slotlab-good", "0.3.0", "good_module")
    registry = load_registry()
    assert registry.find("encoder", "good")
    assert registry.broken == [Broken("slotlab-bad 1.2", reason)]
    initializers = ", ".join(registry.names("initializer"))
    assert registry.explain_unknown("initializer", "gausian") == (
        f"no initializer is called 'gausian'; did you mean 'gaussian'? (available: {initializers}); "
        f"plugin not loaded: slotlab-bad 1.2 ({reason})"
    )
    with pytest.raises(PluginError) as caught:
        load_registry(strict=True)
    assert str(caught.value) == f"slotlab-bad 1.2: {reason}"


def test_a_name_that_is_taken_is_set_aside(install: Install, plugin: Plugin) -> None:
    plugin("site/taken_module.py", "cnn")
    install("slotlab-taken", "1.0", "taken_module")
    registry = load_registry()
    builtin = registry.find("encoder", "cnn")
    assert builtin is not None
    assert builtin.source.startswith("slotlab ")
    reason = f"two plugins provide the encoder 'cnn': {builtin.source} and slotlab-taken 1.0; give one of them another name"
    assert registry.broken == [Broken("slotlab-taken 1.0", reason)]


def test_installing_a_plugin_changes_no_spec(base: str, install: Install, plugin: Plugin) -> None:
    before = load_spec("spec.yaml").spec
    plugin("site/good_module.py", "good")
    install("slotlab-good", "0.3.0", "good_module")
    loaded = load_spec("spec.yaml")
    assert loaded.registry.find("encoder", "good")
    assert loaded.spec.model_dump(mode="json") == before.model_dump(mode="json")
    assert run_id(loaded.spec) == run_id(before)
