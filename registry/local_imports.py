"""What a plugin file imports from beside it: found by reading the import statements, without running them.

Files beside a plugin are its helpers: `import helper`, `from helper import f`, `from . import helper`,
modules and packages, and what those import in turn. Names that do not lie beside the plugin are left to
Python: the standard library and installed packages.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path

from slotlab.registry.errors import PluginError

Dotted = tuple[str, ...]
_BY_CALL = ("import_module", "__import__")
_PYTHONS = sys.stdlib_module_names | set(sys.builtin_module_names) | {"slotlab"}


@dataclass(frozen=True)
class Beside:
    """The folder of a plugin, seen from one of its modules."""

    root: Path
    main: str
    """The name of the plugin's own module, which is no helper."""
    module: Dotted
    """The importing module, relative to the folder: `("my_encoder",)`, `("nets", "blocks")`."""
    package: bool = False
    """Whether that module is a package's `__init__`."""

    @property
    def depth(self) -> int:
        """How many packages the module lies in."""
        return len(self.module) - (0 if self.package else 1)

    def files(self, name: Dotted) -> list[str]:
        """Return the files beside the plugin that importing a dotted name runs."""
        found: list[str] = []
        for length in range(1, len(name) + 1):
            part = "/".join(name[:length])
            if (self.root / part / "__init__.py").is_file():
                found.append(f"{part}/__init__.py")
            elif (self.root / f"{part}.py").is_file():
                return [*found, f"{part}.py"]
            elif not (self.root / part).is_dir():
                break
        return found

    def is_local(self, name: Dotted, line: int) -> bool:
        """Return whether an absolute import names a helper beside the plugin.

        Raises:
            PluginError: if an installed module has the same name.
        """
        top = name[0]
        if top in _PYTHONS or self.module == (top,) == (self.main,) or not self.files(name):
            return False
        other = elsewhere(top, self.root)
        if other is not None and self.files((top,)):
            raise PluginError(
                f"line {line} of {'/'.join(self.module)}.py imports '{top}', which lies beside it "
                f"({self.root / self.files((top,))[0]}) and is installed too ({other}); "
                f"write 'from . import {top}' for the first, or rename it"
            )
        return other is None


def elsewhere(top: str, root: Path) -> str | None:
    """Return where a module or package is installed, other than in `root` and the current folder.

    How Python was started decides whether the current folder is on its path.
    """
    here = {root.resolve(), Path.cwd()}
    path = [one for one in sys.path if one and Path(one).resolve() not in here]
    for finder in sys.meta_path:
        if finder is PathFinder:
            spec = PathFinder.find_spec(top, path)
        elif hasattr(finder, "find_spec"):
            spec = finder.find_spec(top, None)
        else:
            continue
        if spec is not None and spec.origin is not None and Path(spec.origin).parent.resolve() not in here:
            return spec.origin
    return None


@dataclass(frozen=True)
class PythonFile:
    """One file of Python, and what it imports."""

    text: bytes
    beside: Beside

    @cached_property
    def tree(self) -> ast.Module | None:
        """The parsed file; None if it is not valid Python, which importing it will report."""
        try:
            return ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError):
            return None

    def helpers(self) -> Iterator[str]:
        """Yield the files that it imports from beside the plugin, some more than once.

        Raises:
            PluginError: for an import that cannot be followed.
        """
        for node in ast.walk(self.tree) if self.tree is not None else ():
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = tuple(alias.name.split("."))
                    if self.beside.is_local(name, node.lineno):
                        yield from self.beside.files(name)
            elif isinstance(node, ast.ImportFrom):
                yield from self._from(node)
            elif isinstance(node, ast.Call):
                self._refuse_call(node)

    def foreign(self) -> set[str]:
        """Return the names of the modules that it imports from elsewhere."""
        found: set[str] = set()
        for node in ast.walk(self.tree) if self.tree is not None else ():
            names: Sequence[str] = ()
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found |= {name.partition(".")[0] for name in names}
        return {name for name in found - _PYTHONS if not self.beside.files((name,))}

    def _from(self, node: ast.ImportFrom) -> Iterator[str]:
        name = tuple(node.module.split(".")) if node.module else ()
        names = [(*name, alias.name) for alias in node.names]
        if node.level == 0:
            if not any(self.beside.is_local(one, node.lineno) for one in (name, *names)):
                return
        elif node.level > self.beside.depth + 1:
            raise PluginError(
                f"line {node.lineno} of {'/'.join(self.beside.module)}.py imports from above the plugin's "
                f"folder {self.beside.root}, which is neither copied nor hashed; put the file beside the "
                "plugin, or install it as a package"
            )
        else:
            above = self.beside.module[: self.beside.depth - node.level + 1]
            names, name = [(*above, *one) for one in names], (*above, *name)
        for one in (name, *names):
            yield from self.beside.files(one)

    def _refuse_call(self, node: ast.Call) -> None:
        called = getattr(node.func, "attr", getattr(node.func, "id", None))
        first = node.args[0] if node.args else None
        if called in _BY_CALL and isinstance(first, ast.Constant) and isinstance(first.value, str):
            name = tuple(first.value.lstrip(".").split("."))
            if all(name) and (first.value.startswith(".") or self.beside.is_local(name, node.lineno)):
                raise PluginError(
                    f"line {node.lineno} of {'/'.join(self.beside.module)}.py imports '{first.value}' by "
                    f"{called}(), and only import statements are followed; write 'import {'.'.join(name)}'"
                )


class Localized(ast.NodeTransformer):
    """Turns imports of helpers into relative ones, so that two plugins may each have a `helper`."""

    def __init__(self, beside: Beside):
        self.beside = beside

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """`import a.b` becomes `from .a import b` and `from . import a`."""
        found: list[ast.stmt] = []
        for alias in node.names:
            name = tuple(alias.name.split("."))
            if not self.beside.is_local(name, node.lineno):
                found.append(ast.Import([alias]))
                continue
            *above, last = name
            if above:
                found.append(self._relative(above, last, alias.asname or "__slotlab_submodule__"))
            if not above or alias.asname is None:
                found.append(self._relative((), name[0], None if above else alias.asname))
        return [ast.copy_location(one, node) for one in found]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        """`from a import b` becomes `from .a import b`."""
        name = tuple(node.module.split(".")) if node.module else ()
        every = (name, *((*name, alias.name) for alias in node.names))
        if node.level or not any(self.beside.is_local(one, node.lineno) for one in every):
            return node
        level = self.beside.depth + 1
        return ast.copy_location(ast.ImportFrom(node.module, node.names, level), node)

    def _relative(self, above: Sequence[str], name: str, known_as: str | None) -> ast.stmt:
        alias = ast.alias(name, known_as)
        return ast.ImportFrom(".".join(above) or None, [alias], self.beside.depth + 1)


def module_of(file: str) -> tuple[Dotted, bool]:
    """Return the dotted name of a file beside a plugin, and whether it is a package's `__init__`."""
    parts = tuple(file.removesuffix(".py").split("/"))
    return (parts[:-1], True) if parts[-1] == "__init__" else (parts, False)


def is_inside(root: Path, name: str) -> bool:
    """Return whether a relative path stays in a folder, links followed."""
    return (root / name).resolve().is_relative_to(root.resolve()) and not Path(name).is_absolute()
