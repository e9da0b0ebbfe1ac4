"""The plugin files that a spec names: which may be loaded, and which take precedence.

A spec is like a script: naming it on the command line runs the plugins that it names. A run's folder is
data that travels: its copies of plugins are compared with what the run was trained with, and the user is
asked about those of another user. They take precedence over installed plugins with the same names, and a
file given with --plugin takes precedence over them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path as FilePath
from typing import get_args

from slotlab.framework.plugin_loading.plugin_copies import check_copy, recorded, run_of
from slotlab.framework.plugin_loading.trust import Ask, Code, admit, refusal, refuse
from slotlab.framework.spec.errors import Path, Problem, SpecError
from slotlab.framework.spec.identity import located_refs
from slotlab.framework.spec.paths import Program, SpecString, resolve
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.tree import Tree
from slotlab.registry import PluginCode, PluginError, Registry, SlotlabError, read_code
from slotlab.registry.code import sha256


@dataclass(frozen=True)
class Admission:
    """The conditions under which the code that a spec names is loaded."""

    given: Sequence[FilePath] = ()
    """Files given with --plugin."""
    ask: Ask = refuse
    """Decides about code that came with another user's run."""
    of_run: bool = False
    """Whether the spec is a run's, even if its folder holds nothing else."""

    def run_of(self, node: Tree) -> FilePath | None:
        """Return the run's folder whose spec contains a text; None for a text that the user wrote."""
        if node.mark.line is None or not isinstance(node.value, SpecString):  # in a --set
            return None
        found = run_of(node.value.folder)
        return node.value.folder if found is None and self.of_run else found


@dataclass(frozen=True)
class _Named:
    """A plugin file that a spec names."""

    node: Tree
    index: int
    code: PluginCode
    is_copy: bool

    def problem(self, text: str) -> Problem:
        return Problem(self.node.mark, ("plugins", self.index), text)


@dataclass
class Loading:
    """Loads the plugins of one spec into a registry."""

    tree: Tree
    registry: Registry
    admission: Admission
    problems: list[Problem] = field(default_factory=list)
    replaced: dict[str, str] = field(default_factory=dict)
    """What files given with --plugin replaced, and these: `my_encoder.py@29c634b1` each."""

    def load(self) -> None:
        """Load the files under `plugins:`; what is not a list of names is left to validation.

        Raises:
            SpecError: with every file that cannot be loaded.
        """
        listed = self.tree.child("plugins")
        items = listed.value if listed is not None and isinstance(listed.value, list) else []
        has_copies = any(self.admission.run_of(item) is not None for item in items)
        if not has_copies:
            self.registry.add_files(self.admission.given)
        named = [one for one in map(self._read, items, range(len(items))) if one is not None]
        copied = {one.index: Code.of(one.code) for one in named if one.is_copy}
        strange = admit(list(copied.values()), refuse if self.problems else self.admission.ask)
        refused = [one for one in named if copied.get(one.index) in strange]
        self.problems += [one.problem(refusal(copied[one.index])) for one in refused]
        for one in () if refused else named:
            try:
                self.registry.add_code(one.code, replacing=one.is_copy)
            except PluginError as error:
                self.problems.append(one.problem(str(error)))
        if self.problems:
            raise SpecError(self.problems)
        if has_copies:
            self._replace()

    def _read(self, node: Tree, index: int) -> _Named | None:
        if not isinstance(node.value, str):
            return None
        path, run = resolve(node.value), self.admission.run_of(node)
        if run is not None and self._stands_in(path, run):
            return None
        try:
            code = read_code(path)
            if run is not None:
                check_copy(run, code)
        except SlotlabError as error:
            self.problems.append(Problem(node.mark, ("plugins", index), str(error)))
            return None
        return _Named(node, index, code, run is not None)

    def _stands_in(self, path: FilePath, run: FilePath) -> bool:
        """Note a file given with --plugin that replaces a copy of the same name, which is not imported."""
        given = next((one for one in self.admission.given if one.name == path.name), None)
        if given is None:
            return False
        now = read_code(given)
        known = [one[:8] for one in recorded(run, path.name)]
        if not known and path.is_file():
            known = [sha256(path.read_bytes())[:8]]
        if now.digest[:8] not in known:
            self.replaced[f"{path.name}@{' or '.join(known) or 'unknown'}"] = now.source
        return True

    def _replace(self) -> None:
        """Load the files given with --plugin, before a run's copies."""
        before = len(self.registry.replaced)
        for path in self.admission.given:
            self.registry.add_code(read_code(path), replacing=True)
        for item in self.registry.replaced[before:]:
            self.replaced[item.before.source] = item.now.source


def admit_programs(spec: ExperimentSpec, tree: Tree, admission: Admission) -> None:
    """Ask about the files of a run's spec that run as programs, such as TorchScript.

    Raises:
        SpecError: for those that may not run.
    """
    found: dict[Path, Code] = {}
    for path, code in programs(spec):
        node: Tree | None = tree
        for part in path:
            node = None if node is None else node.child(part)
        if node is not None and admission.run_of(node) is not None:
            found[path] = code()
    strange = admit(list(found.values()), admission.ask)
    if strange:
        raise SpecError(
            Problem(tree.locate(path), path, refusal(code)) for path, code in found.items() if code in strange
        )


def programs(spec: ExperimentSpec) -> Iterator[tuple[Path, Callable[[], Code]]]:
    """Yield the path of each setting that names an existing program, and a function that reads it."""
    for path, ref in located_refs(spec):
        for name, field_ in type(ref.config).model_fields.items():
            inner = [
                meta for part in get_args(field_.annotation) for meta in getattr(part, "__metadata__", ())
            ]
            marker = next((one for one in (*field_.metadata, *inner) if isinstance(one, Program)), None)
            value = getattr(ref.config, name)
            if marker is not None and isinstance(value, FilePath) and marker.file(value).is_file():
                yield (*path, name), partial(read_program, marker.file(value))


def read_program(path: FilePath) -> Code:
    """Return a program with the hash of its content."""
    return Code(path, sha256(path.read_bytes()))
