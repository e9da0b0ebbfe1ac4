"""Helpers beside a plugin: found, hashed, each plugin's own; what cannot be followed is refused."""

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.registry import PluginError, Registry, read_code

Plugin = Callable[..., Path]
Write = Callable[[str, str], Path]


def adding(plugin: Plugin, lines: str, file: str = "mine.py", name: str = "mine") -> Path:
    """A plugin file that begins with some lines."""
    path = plugin(file, name)
    path.write_text(f"{lines}\n{path.read_text()}")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PluginError) as error:
        Registry().add_file(path)
    return str(error.value)


def value_of(path: Path) -> object:
    registry = Registry()
    registry.add_file(path)
    module = sys.modules[registry.all("encoder")[0].component.config.__module__]
    return module.VALUE  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("lines", "files"),
    [
        ("import helper\nVALUE = helper.VALUE", ["helper.py"]),
        ("import os, helper as h\nVALUE = h.VALUE", ["helper.py"]),
        ("from helper import VALUE", ["helper.py"]),
        ("from helper import *", ["helper.py"]),
        ("from . import helper\nVALUE = helper.VALUE", ["helper.py"]),
        ("from .helper import VALUE", ["helper.py"]),
        ("def f():\n    import helper\n    return helper.VALUE\nVALUE = f()", ["helper.py"]),
        (
            "import pack.inner.deep\nVALUE = pack.inner.deep.VALUE",
            ["helper.py", "pack/__init__.py", "pack/inner/deep.py"],
        ),
        (
            "import pack.inner.deep as d\nVALUE = d.VALUE",
            ["helper.py", "pack/__init__.py", "pack/inner/deep.py"],
        ),
        (
            "from pack import sibling\nVALUE = sibling.VALUE",
            ["helper.py", "pack/__init__.py", "pack/inner/deep.py", "pack/sibling.py"],
        ),
        ("from bare import deep\nVALUE = deep.VALUE", ["bare/deep.py", "helper.py"]),
        ("import bare.deep\nVALUE = bare.deep.VALUE", ["bare/deep.py", "helper.py"]),
        (
            "try:\n    import helper\n    VALUE = helper.VALUE\nexcept ImportError:\n    VALUE = 0",
            ["helper.py"],
        ),
    ],
)
def test_helpers_are_found_and_hashed(plugin: Plugin, write: Write, lines: str, files: list[str]) -> None:
    write("helper.py", "VALUE = 7\n")
    write("pack/__init__.py", "")
    write("pack/inner/deep.py", "from helper import VALUE\n")
    write("pack/sibling.py", "import helper\nfrom .inner import deep\nVALUE = helper.VALUE\n")
    write("bare/deep.py", "import helper\nVALUE = helper.VALUE\n")
    write("unused.py", "1 / 0\n")
    path = adding(plugin, lines)
    code = read_code(path)
    assert list(code.files) == ["mine.py", *files]
    assert value_of(path) == 7
    (path.parent / "helper.py").write_text("VALUE = 8\n")
    assert read_code(path).digest != code.digest
    assert value_of(path) == 8


def test_a_lone_file_is_named_by_its_content_alone(plugin: Plugin, write: Write) -> None:
    path = plugin()
    write("json.py", "1 / 0\n")  # Python's own comes first
    write("wandb/run.log", "")  # no module
    path.write_text(f"import json, wandb\n{path.read_text()}")
    code = read_code(path)
    assert code.is_lone
    assert code.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert code.source == f"pixelwise.py@{code.digest[:8]}"


def test_the_names_of_helpers_are_hashed_with_their_contents(plugin: Plugin, write: Write) -> None:
    path = adding(plugin, "import helper")
    module = write("helper.py", "VALUE = 3\n")
    before = read_code(path)
    module.unlink()
    write("helper/__init__.py", "VALUE = 3\n")
    after = read_code(path)
    assert list(before.files.values()) == list(after.files.values())
    assert before.digest != after.digest


def test_what_a_package_imports_from_itself_is_not_from_elsewhere(plugin: Plugin, write: Write) -> None:
    write("nets/__init__.py", "from .blocks import VALUE\nfrom torch import nn\n")
    write("nets/blocks.py", "VALUE = 3\n")
    code = read_code(adding(plugin, "import nets"))
    assert list(code.files) == ["mine.py", "nets/__init__.py", "nets/blocks.py"]
    assert code.foreign() == {"torch"}


def test_two_plugins_have_helpers_of_their_own(plugin: Plugin, write: Write) -> None:
    write("a/helper.py", "VALUE = 1\n")
    write("b/helper.py", "VALUE = 2\n")
    lines = (
        "import helper\ndef late():\n    import helper\n    return helper.VALUE\nVALUE = (helper.VALUE, late)"
    )
    one, late_one = value_of(adding(plugin, lines, "a/mine.py"))  # type: ignore[misc]
    two, late_two = value_of(adding(plugin, lines, "b/mine.py"))  # type: ignore[misc]
    assert (one, two, late_one(), late_two()) == (1, 2, 1, 2)
    assert "helper" not in sys.modules


def test_classes_of_helpers_pickle_to_new_processes(plugin: Plugin, write: Write) -> None:
    write("nets/blocks.py", "class Block:\n    def __init__(self):\n        self.x = 3\n")
    made = value_of(adding(plugin, "from nets.blocks import Block\nVALUE = Block()"))
    worker = f"import pickle\nprint(pickle.loads({pickle.dumps(made)!r}).x)"
    done = subprocess.run([sys.executable, "-c", worker], capture_output=True, text=True, check=False)
    assert done.stdout == "3\n", done.stderr


def test_a_helper_may_import_the_plugin_late(plugin: Plugin, write: Write) -> None:
    write("helper.py", "def f():\n    import mine\n    return mine.NUMBER\n")
    assert value_of(adding(plugin, "NUMBER = 5\nfrom helper import f as VALUE"))() == 5  # type: ignore[operator]


def test_data_files_that_are_listed_belong_to_it(plugin: Plugin, write: Write) -> None:
    write("words/list.txt", "a b")
    lines = (
        "from pathlib import Path\nSLOTLAB_FILES = ['words/list.txt']\n"
        "VALUE = (Path(__file__).parent / 'words' / 'list.txt').read_text()"
    )
    path = adding(plugin, lines)
    before = read_code(path)
    assert (value_of(path), list(before.files)) == ("a b", ["mine.py", "words/list.txt"])
    write("words/list.txt", "c d")
    assert read_code(path).digest != before.digest


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            "import importlib\nhelper = importlib.import_module('helper')",
            ("line 2 of mine.py imports 'helper' by import_module(), and only import statements are followed; "
            "write 'import helper'"),
        ),
        (
            "x = __import__('helper')",
            ("line 1 of mine.py imports 'helper' by __import__(), and only import statements are followed; "
            "write 'import helper'"),
        ),
        (
            "import importlib\nimportlib.import_module('hel' + 'per')",
            ("cannot be imported: ModuleNotFoundError: No module named 'helper' (line 2); "
            "helper.py lies beside it: name it in an import statement"),
        ),
        (
            "from .. import helper",
            ("line 1 of mine.py imports from above the plugin's folder @HERE@, which is neither copied nor "
            "hashed; put the file beside the plugin, or install it as a package"),
        ),
        (
            "import sys\nsys.path.insert(0, '@HERE@/elsewhere')\nimport far",
            ("imports 'far' from @HERE@/elsewhere/far.py, by a folder that it adds to sys.path: that file is "
            "neither copied nor hashed; put it beside the plugin, or install it as a package"),
        ),
        (
            "import sys\nsys.path.append('@HERE@/elsewhere')\ndef late():\n    from far import x",
            ("imports 'far' from @HERE@/elsewhere/far.py, by a folder that it adds to sys.path: that file is "
            "neither copied nor hashed; put it beside the plugin, or install it as a package"),
        ),
        ("SLOTLAB_FILES = ['absent.txt']", "SLOTLAB_FILES names 'absent.txt', and there is no file @HERE@/absent.txt"),
        (
            "SLOTLAB_FILES = ['../x.txt']",
            "SLOTLAB_FILES names '../x.txt', which does not lie beside the plugin; put it there",
        ),
        (
            "SLOTLAB_FILES = ['/etc/hostname']",
            "SLOTLAB_FILES names '/etc/hostname', which does not lie beside the plugin; put it there",
        ),
        (
            "SLOTLAB_FILES = [str(1)]",
            "SLOTLAB_FILES must be a list of names, written out: SLOTLAB_FILES = ['words.txt']",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(
    plugin: Plugin, write: Write, tmp_path: Path, lines: str, reason: str
) -> None:
    write("helper.py", "VALUE = 7\n")
    write("elsewhere/far.py", "x = 1\n")
    before = list(sys.path)
    path = adding(plugin, lines.replace("@HERE@", str(tmp_path)))
    expected = f"plugin file {path}: {reason.replace('@HERE@', str(tmp_path))}"
    assert refusal(path) == expected
    assert refusal(path) == expected, "the second time too"
    assert sys.path == before


def test_a_helper_called_like_an_installed_module_is_refused(
    plugin: Plugin, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = write("site/twofold.py", "VALUE = 1\n")
    monkeypatch.syspath_prepend(str(installed.parent))
    write("twofold.py", "VALUE = 2\n")
    path = adding(plugin, "import twofold\nVALUE = twofold.VALUE")
    assert refusal(path) == (
        f"plugin file {path}: line 1 of mine.py imports 'twofold', which lies beside it "
        f"({tmp_path / 'twofold.py'}) and is installed too ({installed}); "
        "write 'from . import twofold' for the first, or rename it"
    )
    assert value_of(adding(plugin, "from . import twofold\nVALUE = twofold.VALUE")) == 2
    Path("twofold.py").unlink()
    assert value_of(adding(plugin, "import twofold\nVALUE = twofold.VALUE")) == 1


def test_a_compiled_helper_is_refused(plugin: Plugin, write: Write) -> None:
    from importlib.machinery import EXTENSION_SUFFIXES

    fast = write(f"fast{EXTENSION_SUFFIXES[0]}", "")
    path = adding(plugin, "import fast")
    assert refusal(path) == (
        f"plugin file {path}: cannot be imported: ModuleNotFoundError: No module named 'fast' (line 1); "
        f"{fast.name} is compiled, install it as a package"
    )


def test_the_folder_of_the_command_does_not_matter(
    plugin: Plugin, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("helper.py", "VALUE = 1\n")
    write("deep/helper.py", "VALUE = 2\n")
    path = adding(plugin, "from helper import VALUE", "deep/mine.py")
    digests = set()
    for first in ("", str(Path.cwd())):  # as under `python -m` and `python script.py`
        monkeypatch.setattr(sys, "path", [first, *sys.path])
        digests.add(read_code(path).digest)
        assert value_of(path) == 2
    assert len(digests) == 1
