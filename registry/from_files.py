"""The package that plugin files are imported into, each under a name that no other file can have.

`slotlab.registry.from_files.TOKEN.my_encoder`: the token encodes the file's path and content, so that
two files with one name, and two versions of one file, are separate modules in one process. A class of
such a module is pickled by this name alone; another process that unpickles it imports this package,
which finds the file by the token and refuses it if its content has changed since.
"""

import ast
import base64
import os
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

from slotlab.registry.code import PluginCode, read_code
from slotlab.registry.errors import PluginError
from slotlab.registry.local_imports import Localized

__path__: list[str] = []  # a package, whose modules are found by the finder below alone


def token_of(code: PluginCode) -> str:
    """Return a Python identifier that encodes the plugin's path and content."""
    place = base64.b32encode(os.fsencode(code.path)).decode().rstrip("=").lower()
    return f"{code.path.stem}_{code.digest[:32]}_{place}"


def place_of(token: str) -> Path:
    """Return the path that a token encodes."""
    place = token.rpartition("_")[2].upper()
    return Path(os.fsdecode(base64.b32decode(place + "=" * (-len(place) % 8))))


class PluginFinder(MetaPathFinder):
    """Finds the modules of plugins by their token."""

    def __init__(self) -> None:
        self._known: dict[str, PluginCode] = {}

    def take(self, code: PluginCode) -> str:
        """Make a plugin importable; return the name of its module."""
        token = token_of(code)
        self._known.setdefault(token, code)
        return f"{__name__}.{token}.{code.path.stem}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a plugin's package, module or helper."""
        if not fullname.startswith(f"{__name__}."):
            return None
        token, *inner = fullname.removeprefix(f"{__name__}.").split(".")
        code = self._code(token)
        stem = "/".join(inner)
        for file in (f"{stem}/__init__.py", f"{stem}.py"):
            if inner and file in code.files:
                return spec_from_loader(fullname, _Loader(code, file), origin=str(code.root / file))
        if not inner or any(file.startswith(f"{stem}/") for file in code.files):
            return spec_from_loader(fullname, _Loader(code, None), is_package=True)
        return None

    def _code(self, token: str) -> PluginCode:
        if token not in self._known:  # in a process that unpickles what another one has loaded
            try:
                code = read_code(place_of(token))
            except (PluginError, ValueError) as error:
                raise ImportError(f"a plugin file is gone: {error}") from error
            if token_of(code) != token:
                raise ImportError(f"{code.path} has changed since it was loaded; start again")
            self._known[token] = code
        return self._known[token]


class _Loader(InspectLoader):
    """Runs the content that was read, even if the file has changed since."""

    def __init__(self, code: PluginCode, file: str | None):
        self.code = code
        self.file = file
        """Relative to the plugin's folder; None for a folder without `__init__.py`."""

    def is_package(self, fullname: str) -> bool:
        return self.file is None or self.file.endswith("/__init__.py")

    def get_source(self, fullname: str) -> str:
        return "" if self.file is None else decode_source(self.code.files[self.file])

    def get_code(self, fullname: str) -> CodeType:
        if self.file is None:
            return compile("", "<folder>", "exec")
        file = str(self.code.root / self.file)
        if self.file == self.code.name:
            file = str(self.code.path.resolve())
        tree = ast.parse(self.code.files[self.file], filename=file)
        local = Localized(self.code.beside(self.file)).visit(tree)
        return compile(ast.fix_missing_locations(local), file, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        if self.file is not None:
            main = self.file == self.code.name
            module.__file__ = str(self.code.path.resolve() if main else self.code.root / self.file)
        super().exec_module(module)


FINDER = PluginFinder()
sys.meta_path.insert(0, FINDER)
