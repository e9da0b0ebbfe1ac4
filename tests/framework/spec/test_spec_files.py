"""Files that a spec names: paths relative to where they are written, and plugins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.spec.load import load_spec
from slotlab.registry import PluginError, SlotlabError
from slotlab.registry.files import file_source

Plugin = Callable[..., Path]
Write = Callable[[str, str], Path]
NO_API = "it does not say which hooks it was written for; add the line 'SLOTLAB_API = 1'"


def refusal(**options: Any) -> str:
    with pytest.raises(SlotlabError) as caught:
        load_spec("spec.yaml", **options)
    return str(caught.value)


PATHS_PLUGIN = """
from slotlab.registry import Component, ComponentConfig, hookimpl
from slotlab.framework.spec.paths import SpecPath

SLOTLAB_API = 1

class Config(ComponentConfig):
    root: SpecPath
    flag: bool = False
    text: str = ""
    extra: tuple[SpecPath, ...] = ()

@hookimpl
def slotlab_datasets():
    yield Component(name="folder", config=Config, build=print, summary="a folder")
"""


@pytest.fixture
def folder_dataset(base: str, write: Write) -> None:
    """`spec.yaml` with a dataset that has paths, a flag and a text."""
    write("parents/plugin_with_paths.py", PATHS_PLUGIN)
    block = "{name: folder, root: data, flag: on, text: on, extra: [x]}"
    text = (
        base.replace("dataset: {name: scenes, max_objects: 6}", f"dataset: {block}")
        + "plugins: [plugin_with_paths.py]\n"
    )
    write("parents/parent.yaml", text)
    write("spec.yaml", "extends: parents/parent.yaml\n")


def test_words_take_the_type_of_the_setting(folder_dataset: None) -> None:
    config: Any = load_spec("spec.yaml").spec.data.dataset.config
    assert (config.flag, config.text) == (True, "on")
    config = load_spec("spec.yaml", sets=["data.dataset.text=12:30:00"]).spec.data.dataset.config
    assert config.text == "12:30:00"
    assert refusal(sets=["data.dataset.flag=maybe"]) == (
        "--set data.dataset.flag=maybe: data.dataset.flag: expected true or false, got 'maybe'"
    )


def test_paths_are_relative_to_where_they_are_written(folder_dataset: None, tmp_path: Path) -> None:
    spec = load_spec("spec.yaml").spec
    config: Any = spec.data.dataset.config
    assert config.root == tmp_path / "parents/data"
    assert config.extra == (tmp_path / "parents/x",)
    assert spec.plugins == (tmp_path / "parents/plugin_with_paths.py",)
    Path("spec.yaml").write_text("extends: parents/parent.yaml\ndata: {dataset: {root: data}}\n")
    config = load_spec("spec.yaml").spec.data.dataset.config
    assert (config.root, config.extra) == (tmp_path / "data", (tmp_path / "parents/x",))
    config = load_spec("spec.yaml", sets=["data.dataset.root=here"]).spec.data.dataset.config
    assert config.root == tmp_path / "here"


def test_set_paths_are_relative_to_the_current_folder(
    folder_dataset: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config: Any = load_spec("../spec.yaml", sets=["data.dataset.root=here"]).spec.data.dataset.config
    assert config.root == tmp_path / "elsewhere/here"


# --- plugins -----------------------------------------------------------------------------


def test_plugins_of_a_spec_and_of_the_command(base: str, plugin: Plugin) -> None:
    plugin("sub/first.py", "first")
    plugin("second.py", "second")
    Path("spec.yaml").write_text(base + "plugins: [sub/first.py]\n")
    loaded = load_spec("spec.yaml", plugins=[Path("second.py"), Path("sub/first.py")])
    assert {"first", "second"} <= set(loaded.registry.names("encoder"))
    assert loaded.path == Path("spec.yaml")


def test_broken_plugins_are_reported_together(base: str, plugin: Plugin) -> None:
    silent = plugin("silent.py", **{"SLOTLAB_API = 1": ""})
    plugin("fine.py", "fine")
    Path("spec.yaml").write_text(base + "plugins:\n  - silent.py\n  - fine.py\n  - absent.py\n")
    line = len(base.splitlines()) + 2
    assert refusal() == (
        f"spec.yaml:{line}: plugins.0: {file_source(silent)}: {NO_API}\n"
        f"spec.yaml:{line + 2}: plugins.2: plugin file {silent.parent / 'absent.py'}: does not exist"
    )


def test_a_broken_plugin_of_the_command(base: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        load_spec("spec.yaml", plugins=[Path("absent.py")])
    assert str(caught.value) == f"plugin file {tmp_path / 'absent.py'}: does not exist"


@pytest.mark.parametrize(("listed", "path", "text"), [
    ("plugin.py", "plugins", "expected a list, got 'plugin.py'"),
    ("[{a: 1}]", "plugins.0", "expected a path, got a block of 'key: value' lines"),
])  # fmt: skip
def test_plugins_that_are_no_list_of_files(base: str, listed: str, path: str, text: str) -> None:
    Path("spec.yaml").write_text(f"{base}plugins: {listed}\n")
    assert refusal() == f"spec.yaml:{len(base.splitlines()) + 1}: {path}: {text}"
