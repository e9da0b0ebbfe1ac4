"""The code of a single-file plugin: the file and its helpers, read once, named by their content."""

import ast
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from slotlab.registry.errors import PluginError
from slotlab.registry.local_imports import Beside, PythonFile, is_inside, module_of

DATA = "SLOTLAB_FILES"
"""Name of a list at a plugin's top level: the files beside it that it opens, which are copied with it."""


@dataclass(frozen=True)
class PluginCode:
    """The files of a plugin, read once: exactly these contents are run, hashed and copied."""

    path: Path
    """The plugin file as it was given, as an absolute path."""
    files: Mapping[str, bytes] = field(repr=False)
    """Contents by the path relative to the plugin's folder: the plugin file, then its helpers by name."""

    @property
    def name(self) -> str:
        """The plugin file's name."""
        return self.path.name

    @property
    def root(self) -> Path:
        """The folder it lies in, with links resolved."""
        return self.path.resolve().parent

    @property
    def is_lone(self) -> bool:
        """Whether it has no helpers."""
        return len(self.files) == 1

    @cached_property
    def digest(self) -> str:
        """SHA-256, hexadecimal: of the file, or of the names and hashes of all files if it has helpers."""
        if self.is_lone:
            return sha256(self.files[self.name])
        listed = (f"{sha256(content)}  {name}\n" for name, content in self.files.items())
        return sha256("".join(listed).encode())

    @property
    def source(self) -> str:
        """The plugin's file name and the beginning of its hash: `my_encoder.py@29c634b1`."""
        return f"{self.name}@{self.digest[:8]}"

    @property
    def seeks_files(self) -> bool:
        """Whether it uses `__file__`, and so may open files beside itself, but lists none of them."""
        named = any(b"__file__" in content for name, content in self.files.items() if name.endswith(".py"))
        return named and not declared(self.files[self.name])

    def sources(self) -> Iterator[PythonFile]:
        """Yield its Python files."""
        for name, content in self.files.items():
            if name.endswith(".py"):
                yield PythonFile(content, self.beside(name))

    def beside(self, file: str) -> Beside:
        """Return the plugin's folder as one of its files sees it."""
        module, package = module_of(file)
        return Beside(self.root, self.path.stem, module, package)

    def foreign(self) -> set[str]:
        """Return the names of the modules that it imports and that do not lie beside it."""
        return {name for source in self.sources() for name in source.foreign()}


def sha256(content: bytes) -> str:
    """Return the SHA-256 as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_code(path: Path) -> PluginCode:
    """Read a plugin file and what it imports from beside it.

    Raises:
        PluginError: if the file is missing or is not called NAME.py, or if one of its imports cannot be
            followed.
    """
    path = Path(os.path.normpath(path.absolute()))
    where = f"plugin file {path}"
    if path.is_dir():
        raise PluginError("is a folder; name the plugin file in it", source=where)
    if not path.is_file():
        raise PluginError("does not exist", source=where)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise PluginError("must be called NAME.py, NAME being a Python identifier", source=where)
    root, helpers = path.resolve().parent, dict[str, bytes]()
    main = path.read_bytes()
    waiting = [(path.name, main)]
    try:
        while waiting:
            name, content = waiting.pop()
            module, package = module_of(name)
            source = PythonFile(content, Beside(root, path.stem, module, package))
            for helper in source.helpers():
                if helper not in helpers and helper != path.name:
                    helpers[helper] = (root / helper).read_bytes()
                    waiting.append((helper, helpers[helper]))
        for name in declared(main):
            helpers[name] = read_data(root, name)
    except PluginError as error:
        raise PluginError(error.reason, source=where) from None
    except OSError as error:
        raise PluginError(f"{error.filename}: {error.strerror}", source=where) from None
    return PluginCode(path, {path.name: main, **dict(sorted(helpers.items()))})


def declared(main: bytes) -> list[str]:
    """Return the names of the data files that a plugin lists.

    Raises:
        PluginError: if the list is not written out as strings.
    """
    try:
        body = ast.parse(main).body
    except (SyntaxError, ValueError, RecursionError):
        return []
    found: list[str] = []
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == DATA for target in targets):
            assert isinstance(node, ast.Assign)
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                value = None
            if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
                raise PluginError(f"{DATA} must be a list of names, written out: {DATA} = ['words.txt']")
            found += value
    return found


def read_data(root: Path, name: str) -> bytes:
    """Read a file that a plugin lists.

    Raises:
        PluginError: if it does not exist, or does not lie beside the plugin.
    """
    if not is_inside(root, name) or ".." in Path(name).parts:
        raise PluginError(f"{DATA} names '{name}', which does not lie beside the plugin; put it there")
    if not (root / name).is_file():
        raise PluginError(f"{DATA} names '{name}', and there is no file {root / name}")
    return (root / name).read_bytes()
