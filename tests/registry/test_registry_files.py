"""Single-file plugins: all of a file or nothing, and every way in which one can be wrong."""

import hashlib
import importlib
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.registry import KINDS, PluginError, Registry
from slotlab.registry.files import file_source

HOOKS = ", ".join(["slotlab_kinds", *(kind.hook for kind in KINDS.values())])
HEAD = """
from slotlab.registry import Component, ComponentConfig, hookimpl
SLOTLAB_API = 1
"""
Plugin = Callable[..., Path]
Write = Callable[[str, str], Path]


def refusal(path: Path, registry: Registry | None = None) -> str:
    """The text with which a file is refused; nothing of it may stay."""
    registry = registry or Registry()
    before = registry.all()
    with pytest.raises(PluginError) as caught:
        registry.add_file(path)
    assert registry.all() == before
    return str(caught.value)


def test_a_file_is_registered_with_its_content(plugin: Plugin) -> None:
    path, registry = plugin(), Registry()
    registry.add_file(path)
    found = registry.find("encoder", "pixelwise")
    assert found is not None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert (found.source, found.path) == (f"pixelwise.py@{digest}", path)
    assert found.identity == f"encoder:pixelwise=1@{digest}"


def test_adding_twice_is_adding_once(plugin: Plugin) -> None:
    path, registry = plugin(), Registry()
    registry.add_file(path)
    once = registry.all()
    registry.add_file(path)
    assert registry.all() == once


def test_order_of_files_does_not_matter(plugin: Plugin) -> None:
    paths = [plugin("one.py", "one"), plugin("two.py", "two")]
    forward, backward = Registry(), Registry()
    for path in paths:
        forward.add_file(path)
    for path in reversed(paths):
        backward.add_file(path)
    assert forward.all() == backward.all()


def test_a_refused_file_can_be_mended(plugin: Plugin, registry: Registry) -> None:
    refusal(plugin("taken.py", "cnn"), registry)
    registry.add_file(plugin("free.py", "free"))
    assert registry.find("encoder", "free")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.py", "does not exist"),
        (".", "is a folder; name the plugin file in it"),
        ("my-plugin.py", "must be called NAME.py, NAME being a Python identifier"),
        ("plugin.txt", "must be called NAME.py, NAME being a Python identifier"),
    ],
)
def test_files_that_cannot_be_plugins(write: Write, name: str, reason: str) -> None:
    if name not in ("absent.py", "."):
        write(name, HEAD)
    assert refusal(Path(name)) == f"plugin file {Path(name).resolve()}: {reason}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\nfor\n", "SyntaxError: invalid syntax (line 2)"),
        ("x = 1\n\nx / 0\n", "ZeroDivisionError: division by zero (line 3)"),
        ("def f():\n    raise KeyError\n\nf()\n", "KeyError (line 2)"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (line 2)"),
        ("\nimport nosuch_module\n", "ModuleNotFoundError: No module named 'nosuch_module' (line 2)"),
    ],
)
def test_files_that_fail_at_import(write: Write, text: str, reason: str) -> None:
    path = write("broken_plugin.py", "")
    path.write_text(text)
    assert refusal(path) == f"plugin file {path}: cannot be imported: {reason}"


@pytest.mark.parametrize(
    "line", ["from slotlab.framework.metric import mask_metric", "from slotlab.metrics import no_such"]
)
def test_what_slotlab_has_no_more_is_said_with_the_public_modules(write: Write, line: str) -> None:
    text = refusal(write("old.py", line + HEAD))
    assert "plugins import from slotlab, slotlab.contracts, slotlab.metrics" in text
    assert "(line 1)" in text


def test_a_mistake_in_another_file_is_not_blamed_on_this_line(write: Write) -> None:
    write("helper_of_plugin.py", "x = (\n")
    path = write("plugin_with_helper.py", "import json\nimport helper_of_plugin\n")
    reason = "SyntaxError: '(' was never closed (helper_of_plugin.py, line 1) (line 2)"
    assert refusal(path) == f"plugin file {path}: cannot be imported: {reason}"


def test_a_file_may_be_called_like_any_module(plugin: Plugin, write: Write) -> None:
    path, registry = plugin("json.py", "first"), Registry()
    path.write_text(f"import json\nassert json.dumps([]) == '[]'\n{path.read_text()}")
    registry.add_file(path)
    registry.add_file(plugin("torch.py", "second"))
    assert registry.names("encoder") == ["first", "second"]


def test_two_files_of_one_name(plugin: Plugin) -> None:
    first, second, registry = plugin("a/same.py", "one"), plugin("b/same.py", "two"), Registry()
    registry.add_file(first)
    registry.add_file(second)
    found = [item.component.config.__module__ for item in registry.all("encoder")]
    assert len(set(found)) == 2
    assert all(name.endswith(".same") for name in found)


def test_two_copies_of_one_file_are_modules_of_their_own(plugin: Plugin) -> None:
    one, other = Registry(), Registry()
    one.add_file(plugin("a/same.py"))
    other.add_file(plugin("b/same.py"))
    kinds = [registry.all("encoder")[0].component.config for registry in (one, other)]
    assert kinds[0] is not kinds[1]
    assert [pickle.loads(pickle.dumps(kind)) for kind in kinds] == kinds
    one.add_file(Path("b/same.py"))
    assert len(one.files) == 1, "the same name and content is the same plugin"


def test_another_content_is_another_module_at_once(plugin: Plugin) -> None:
    path, before, after = plugin(), Registry(), Registry()
    before.add_file(path)
    path.write_text(path.read_text().replace("width: int = 4", "width: int = 5"))
    after.add_file(path)
    widths = [registry.all("encoder")[0].component.config().width for registry in (before, after)]
    assert widths == [4, 5]


def test_a_file_that_changed_meanwhile_is_refused_to_workers(plugin: Plugin) -> None:
    path, registry = plugin(), Registry()
    registry.add_file(path)
    pickled = pickle.dumps(registry.all("encoder")[0].component.config())
    path.write_text(path.read_text() + "# changed\n")
    worker = f"import pickle\npickle.loads({pickled!r})"
    done = subprocess.run([sys.executable, "-c", worker], capture_output=True, text=True, check=False)
    assert f"ImportError: {path} has changed since it was loaded; start again" in done.stderr


def test_version_of_the_hooks(plugin: Plugin) -> None:
    path = plugin("silent.py", **{"SLOTLAB_API = 1": ""})
    assert refusal(path) == (
        f"{file_source(path)}: it does not say which hooks it was written for; add the line 'SLOTLAB_API = 1'"
    )
    path = plugin("future.py", **{"SLOTLAB_API = 1": "SLOTLAB_API = '1'"})
    assert refusal(path) == (
        f"{file_source(path)}: it was written for hooks of version '1', and this is version 1; "
        "change it as CHANGELOG.md says, then write 'SLOTLAB_API = 1'"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "provides no components; write a function called slotlab_encoders, or another hook, under '@hookimpl'"),
        (
            "@hookimpl\ndef slotlab_encoder():\n    yield 1\n",
            f"unknown hook 'slotlab_encoder'; did you mean 'slotlab_encoders'? (hooks are: {HOOKS})",
        ),
        ("def slotlab_metrics():\n    yield 1\n", "the hook slotlab_metrics lacks its decorator; write '@hookimpl'"),
        (
            "@hookimpl\ndef slotlab_encoders(config):\n    yield 1\n",
            ("pluggy refuses a hook: hookimpl definition: slotlab_encoders(config); "
            "Argument(s) {'config'} are declared in the hookimpl but can not be found in the hookspec"),
        ),
        (
            ("@hookimpl\ndef slotlab_encoders():\n"
            "    return Component(name='x', config=ComponentConfig, build=print, summary='x')\n"),
            "slotlab_encoders must yield components; write 'yield', not 'return'",
        ),
        (
            "@hookimpl\ndef slotlab_encoders():\n    pass\n",
            "slotlab_encoders must yield components; write 'yield', not 'return'",
        ),
        ("@hookimpl\ndef slotlab_encoders():\n    yield 'cnn'\n", "slotlab_encoders yielded 'cnn', which is not a Component"),
        ("@hookimpl\ndef slotlab_encoders():\n    yield 1 / 0\n", "slotlab_encoders fails: ZeroDivisionError: division by zero (line 7)"),
        (
            ("@hookimpl\ndef slotlab_encoders():\n"
            "    yield Component(name='X', config=dict, build=print, summary='', version=0)\n"),
            ("component 'X': name 'X' must be lower-case letters, digits, '_' and '-', starting with a letter; "
            "config must be a subclass of ComponentConfig, not <class 'dict'>; "
            "summary must be one line that says what the component is; "
            "version must be a whole number from 1, not 0"),
        ),
    ],
)  # fmt: skip
def test_files_that_break_the_rules(write: Write, body: str, reason: str) -> None:
    path = write("rules.py", "")
    path.write_text(f"{HEAD}\n{body}")
    assert refusal(path) == f"{file_source(path)}: {reason}"


SEVERAL = """from slotlab.registry import Component, ComponentConfig, hookimpl


class Mine:
    pass


@hookimpl
def slotlab_encoders():
    yield Component(name="mine", config=ComponentConfig, build=Mine)
    yield Component(name="Mine", config=ComponentConfig, build=Mine, sumary="a", summary="a")


@hookimpl
def slotlab_positions():
    yield Component(config=ComponentConfig, build=print, summary="a")


@hookimpl
def slotlab_decoder():
    yield 1
    raise ValueError


def slotlab_metrics():
    yield 1
"""
ENCODER = "@hookimpl\ndef slotlab_encoders():\n    yield Component({})\n"
GIVEN = {"name": "'x'", "config": "ComponentConfig", "build": "print", "summary": "'x'"}


def test_all_that_is_wrong_in_a_file_is_said_at_once(write: Write) -> None:
    path = write("several.py", SEVERAL)
    with pytest.raises(PluginError) as caught:
        Registry().add_file(path)
    assert caught.value.lines() == [
        f"{file_source(path)}: {reason}"
        for reason in (
            "it does not say which hooks it was written for; add the line 'SLOTLAB_API = 1'",
            f"unknown hook 'slotlab_decoder'; did you mean 'slotlab_decoders'? (hooks are: {HOOKS})",
            "the hook slotlab_metrics lacks its decorator; write '@hookimpl'",
            "component 'mine' (Mine, line 4): lacks 'summary', one line that says what the component is",
            ("component 'Mine' (Mine, line 4): does not know 'sumary'; did you mean 'summary'? (name, config, "
            "build, summary, version, earlier, install); name 'Mine' must be lower-case letters, digits, '_' and '-', "
            "starting with a letter"),
            "component of slotlab_positions: lacks 'name', by which specs select it",
        )
    ]  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_what_a_component_lacks_is_said_in_words_and_alone(write: Write, name: str) -> None:
    given = ", ".join(f"{key}={value}" for key, value in GIVEN.items() if key != name)
    path = write("lacking.py", HEAD + ENCODER.format(given))
    text = refusal(path)
    assert f": lacks '{name}', " in text
    assert "must" not in text
    assert "Error" not in text


def test_all_of_a_file_or_nothing(plugin: Plugin) -> None:
    good = (
        'yield Component(name="pixelwise", config=Config, build=Encoder, summary="one linear layer a pixel")'
    )
    path = plugin("half.py", **{good: f"{good}\n    {good.replace('pixelwise', 'Bad')}"})
    assert refusal(path) == (
        f"{file_source(path)}: component 'Bad' (Encoder, line 11): "
        "name 'Bad' must be lower-case letters, digits, '_' and '-', starting with a letter"
    )


def test_what_is_wrong_with_several_files_is_said_at_once(plugin: Plugin, write: Write) -> None:
    good = plugin("good.py")
    broken = write("broken.py", "import nosuch\n")
    divided = write("divided.py", "1 / 0\n")
    unnamed = plugin("unnamed.py", SLOTLAB_API="OTHER")
    with pytest.raises(PluginError) as caught:
        load_registry([broken, good, divided, unnamed, broken.parent / "none.py"])
    assert caught.value.lines() == [
        f"plugin file {broken}: cannot be imported: ModuleNotFoundError: No module named 'nosuch' (line 1)",
        f"plugin file {divided}: cannot be imported: ZeroDivisionError: division by zero (line 1)",
        f"{file_source(unnamed)}: it does not say which hooks it was written for; add the line 'SLOTLAB_API = 1'",
        f"plugin file {broken.parent / 'none.py'}: does not exist",
    ]
    with pytest.raises(PluginError) as alone:
        load_registry([good, broken])
    assert alone.value.lines() == caught.value.lines()[:1]


def test_duplicates_name_both_sources(plugin: Plugin, registry: Registry) -> None:
    path = plugin("mine.py", "cnn")
    builtin = registry.find("encoder", "cnn")
    assert builtin is not None
    assert refusal(path, registry) == (
        f"two plugins provide the encoder 'cnn': {builtin.source} and {file_source(path)}; "
        "give one of them another name"
    )
    good = (
        'yield Component(name="pixelwise", config=Config, build=Encoder, summary="one linear layer a pixel")'
    )
    path = plugin("twice.py", **{good: f"{good}\n    {good}"})
    assert refusal(path, registry) == (
        f"{file_source(path)}: provides the encoder 'pixelwise' twice; give one of them another name"
    )


def test_classes_of_a_file_pickle_to_spawned_workers(plugin: Plugin) -> None:
    registry = Registry()
    registry.add_file(plugin())
    found = registry.find("encoder", "pixelwise")
    assert found is not None
    config = found.component.config.model_validate({"width": 9})
    assert pickle.loads(pickle.dumps(config)) == config
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(repr, (config,)) == repr(config) == "Config(width=9)"


def test_nothing_is_put_on_the_path(plugin: Plugin) -> None:
    before = list(sys.path)
    Registry().add_file(plugin())
    assert sys.path == before
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pixelwise")
    assert not Path("__pycache__").exists(), "compiled code is not kept: it could be another's"
