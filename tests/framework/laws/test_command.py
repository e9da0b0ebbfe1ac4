"""The command `check`, and `slotlab.laws` in a test file of an author's own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import slotlab as front

PLUGIN = '''
import torch
from torch import nn

from slotlab import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    """Settings of the encoder."""

    width: int@DEFAULT@
    """Channels."""


class Encoder(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.layer = nn.Conv2d(3, config.width, 1)
        self.channels, self.grid = config.width, context.image_size

    def forward(self, images_BCHW):
        return self.layer(images_BCHW@NOISE@)


@hookimpl
def slotlab_encoders():
    yield Component(name="mine", config=Config, build=Encoder, summary="one linear layer a pixel")
'''
WRONG = (
    "draws from its generator alone: in evaluation it draws from torch's own random stream (mine.py:{}); "
    "an encoder draws nothing outside of training: guard it with 'if self.training:'"
)


def written(default=" = 4", noise="", more=""):
    text = PLUGIN.replace("@DEFAULT@", default).replace("@NOISE@", noise) + more
    Path("mine.py").write_text(text)
    return text.splitlines().index(f"        return self.layer(images_BCHW{noise})") + 1


NOISE = " + torch.rand_like(images_BCHW)"


def test_a_component_that_keeps_all_laws(slotlab):
    written()
    code, out, err = slotlab("check", "mine.py")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == "encoder 'mine': 18 laws passed, 1 skipped"
    assert lines[:-1] == [
        "encoder 'mine': skipped: schedulable values can be set: it declares nothing as schedulable"
    ]
    assert slotlab("check", "encoder", "mine", "--plugin", "mine.py")[1] == out
    assert slotlab("check", "encoders", "mine", "--plugin", "mine.py")[1] == out


def test_a_mistake_is_one_line_and_the_exit_code(slotlab):
    line = written(noise=NOISE)
    code, out, err = slotlab("check", "mine.py")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == "encoder 'mine': failed: " + WRONG.format(line)
    assert lines[1] == (
        "encoder 'mine': skipped: inputs stay as they are, is saved whole, images do not mix: "
        "it says nothing unless 'draws from its generator alone' holds"
    )
    assert lines[-1] == "encoder 'mine': 14 laws passed, 1 failed, 4 skipped"


def test_json_has_every_verdict(slotlab):
    line = written(noise=NOISE)
    code, out, _ = slotlab("check", "mine.py", "--json", "-")
    found = json.loads(out)
    assert (code, found["what"], found["holds"]) == (1, "mine.py", False)
    (component,) = found["components"]
    assert (component["kind"], component["name"]) == ("encoder", "mine")
    assert len(found["verdicts"]) == 19
    (wrong,) = [one for one in found["verdicts"] if one["state"] == "failed"]
    assert (wrong["file"], wrong["line"]) == ("mine.py", line)
    assert set(wrong) == {"kind", "component", "law", "state", "reason", "repair", "file", "line"}


def test_a_setting_without_a_default_is_asked_for(slotlab):
    written(default="")
    code, out, _ = slotlab("check", "mine.py")
    assert code == 1
    assert "failed: can be built: width has no default (mine.py:10); give --set width=VALUE\n" in out
    for option in ("width=6", "mine.width=6"):
        code, out, _ = slotlab("check", "mine.py", "--set", option)
        assert (code, out.splitlines()[-1]) == (0, "encoder 'mine': 18 laws passed, 1 skipped")
    code, out, _ = slotlab("check", "mine.py", "--set", "width=wide")
    assert code == 1
    assert "failed: settings are closed and frozen: its settings are refused: width: " in out
    code, _, err = slotlab("check", "mine.py", "--set", "widht=6")
    assert code == 1
    assert err == (
        "error: --set widht=6: no component that is checked has a setting 'widht'; "
        "did you mean 'width'? (settings: width)\n"
    )


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("self.eval()", 1, "failed: keeps its contract: it is built in evaluation mode (mine.py:"),
        ("self.eval().requires_grad_(False)", 0, "skipped: every weight is learned: it has no parameters"),
    ],
)
def test_what_is_frozen_alone_may_be_built_in_evaluation_mode(slotlab, line, code, words):
    written()
    text, build = Path("mine.py").read_text(), "self.channels, self.grid ="
    assert text.count(build) == 1
    Path("mine.py").write_text(text.replace(build, f"{line}\n        {build}"))
    found, out, _ = slotlab("check", "mine.py")
    assert (found, words in out) == (code, True), out


EXCEPTION = '    EXCEPTIONS: ClassVar = {"draws from its generator alone": "noise is its point"}\n'


def test_an_exception_is_declared_with_a_reason_and_must_be_needed(slotlab):
    for noise, code, words in (
        (NOISE, 0, "exception: draws from its generator alone: noise is its point"),
        ("", 1, "failed: draws from its generator alone: it holds, and is declared as an exception"),
    ):
        written(noise=noise)
        text = Path("mine.py").read_text().replace("    width: int", f"{EXCEPTION}    width: int")
        Path("mine.py").write_text(
            text.replace("import torch\n", "from typing import ClassVar\n\nimport torch\n", 1)
        )
        found, out, _ = slotlab("check", "mine.py")
        assert (found, words in out) == (code, True), out


@pytest.mark.parametrize("form", ['{"mine": {LAW}}', "{LAW}"])
def test_a_file_may_declare_exceptions_for_its_components(slotlab, form):
    law = '"draws from its generator alone": "noise is its point"'
    written(noise=NOISE, more="\nEXCEPTIONS = " + form.replace("LAW", law) + "\n")
    code, out, _ = slotlab("check", "mine.py")
    assert (code, out.splitlines()[-1]) == (0, "encoder 'mine': 14 laws passed, 1 exception, 4 skipped")


def test_an_exception_to_no_law_is_a_mistake(slotlab):
    written(more='\nEXCEPTIONS = {"images do not mx": "because"}\n')
    code, out, _ = slotlab("check", "mine.py")
    assert code == 1
    assert "there is no law 'images do not mx'; did you mean 'images do not mix'?" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encoder"], "'encoder' is a kind; write 'slotlab check encoder NAME' (see 'slotlab list encoder')"),
        (["encodr", "cnn"], "no kind is called 'encodr'; did you mean 'encoder'? (kinds: "),
        (["encoder", "cn"], "no encoder is called 'cn'; did you mean 'cnn'? (available: cnn, "),
        (["nowhere.py"], "plugin file {folder}/nowhere.py: does not exist"),
        (["nothing"], "'nothing' is no file, and no package of this name has components (packages: slotlab)"),
        (
            ["json"],
            (
                "'json' is no file, and no package of this name has components; the module json can be imported and is no "
                f"plugin of an installed package: write 'slotlab check {json.__file__}', or declare it under the entry "
                "points 'slotlab.plugins' of its package"
            ),
        ),
        (["a", "b", "c"], "write 'slotlab check FILE', 'slotlab check PACKAGE' or 'slotlab check KIND NAME'"),
    ],
)
def test_what_is_not_there(slotlab, words, message):
    code, out, err = slotlab("check", *words)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {message.format(folder=Path.cwd())}"), err


def test_files_and_folders_may_be_named_like_modules(slotlab):
    Path("my_plugins").mkdir()
    _, _, err = slotlab("check", "my_plugins")
    assert err.endswith(
        "my_plugins is a folder: write 'slotlab check my_plugins/NAME.py' for each plugin file in it\n"
    )
    Path("my_plugins/one.py").write_text("")
    _, _, err = slotlab("check", "my_plugins.one")
    assert err.endswith("; write 'slotlab check my_plugins/one.py' for the file\n")


def test_a_folder_is_one_with_a_slash_behind_it_and_above(slotlab):
    Path("above/plug").mkdir(parents=True)
    found = [slotlab("check", word)[2] for word in ("above/plug", "above/plug/")]
    assert found[0] == found[1]
    assert "; above/plug is a folder: write 'slotlab check above/plug/NAME.py' for each" in found[0]
    assert slotlab("check", "above")[2] == slotlab("check", "above/")[2]
    assert "; .. is a folder: write 'slotlab check ../NAME.py' for each" in slotlab("check", "..")[2]


@pytest.mark.parametrize("module", ["os", "sys", "math"])
def test_a_module_without_a_python_file_is_offered_as_none(slotlab, module):
    _, _, err = slotlab("check", module)
    text = f"; the module {module} can be imported and is no plugin of an installed package: declare it under"
    assert text in err
    assert "write 'slotlab check" not in err


def test_an_installed_plugin_is_named_by_its_module_too(slotlab, monkeypatch):
    written()
    site = Path("site")
    (site / "plugins_of_mine").mkdir(parents=True)
    (site / "plugins_of_mine/__init__.py").touch()
    Path("mine.py").rename(site / "plugins_of_mine/encoders.py")
    (site / "mine-1.0.dist-info").mkdir()
    (site / "mine-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: mine-slots\nVersion: 1.0\n"
    )
    (site / "mine-1.0.dist-info/entry_points.txt").write_text(
        "[slotlab.plugins]\nmine = plugins_of_mine.encoders\n"
    )
    monkeypatch.syspath_prepend(str(site))
    for word in ("mine-slots", "plugins_of_mine", "plugins_of_mine.encoders"):
        _code, out, err = slotlab("check", word, "--json", "-")
        assert err == ""
        assert {item["source"] for item in json.loads(out)["components"]} == {"mine-slots 1.0"}, word


def test_a_component_prints_nothing_into_the_result(slotlab):
    written(noise=" + (print('here') or 0)")
    code, out, err = slotlab("check", "mine.py", "--json", "-")
    assert code == 0
    assert json.loads(out)["holds"]
    assert "here" in err


def test_python_gives_the_verdicts():
    line = written(noise=NOISE)
    (wrong,) = [one for one in front.check("mine.py", settings={"width": 2}) if one.state == "failed"]
    assert (wrong.file, wrong.line, wrong.place) == ("mine.py", line, f"mine.py:{line}")


def test_one_line_in_an_authors_own_tests():
    written(noise=NOISE)
    Path("test_mine.py").write_text('import slotlab\n\ntest_mine = slotlab.laws("mine.py")\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 1
    assert "1 failed, 14 passed, 4 skipped" in found.stdout
    assert "encoder 'mine': draws from its generator alone: failed: in evaluation" in found.stdout
