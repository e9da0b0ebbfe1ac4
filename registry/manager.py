"""The registry: it loads plugins, keeps every component with its source, and explains conflicts."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from slotlab.registry import hookspecs
from slotlab.registry.code import PluginCode, read_code
from slotlab.registry.component import LONGEST_WORD, Component, suggest
from slotlab.registry.errors import PluginError, describe
from slotlab.registry.files import import_code
from slotlab.registry.hookspecs import KINDS, PROJECT, Kind
from slotlab.registry.yielded import check_api, yielded

GROUP = f"{PROJECT}.plugins"
KINDS_HOOK = f"{PROJECT}_kinds"


@dataclass(frozen=True)
class Registered:
    """A component, its kind and where it came from (`slotlab 0.1.0`, `my_encoder.py@29c634b1`)."""

    kind: str
    component: Component[Any]
    source: str
    path: Path | None = None
    """The file, if the component comes from a single-file plugin."""

    @property
    def version(self) -> str:
        """The component's version, and the content of a single-file plugin: `1`, `1@29c634b1`."""
        version = str(self.component.version)
        return f"{version}@{self.source.rpartition('@')[2]}" if self.path else version

    @property
    def identity(self) -> str:
        """What a run's identity depends on: kind, name and version."""
        return f"{self.kind}:{self.component.name}={self.version}"


@dataclass(frozen=True)
class Broken:
    """An installed plugin that could not be loaded, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Replaced:
    """A component that was replaced on purpose by one of another plugin."""

    before: Registered
    now: Registered


class Registry:
    """Every component known to one process. An ordinary object: no globals, freely created."""

    def __init__(self) -> None:
        self._pm = pluggy.PluginManager(PROJECT)
        self._pm.add_hookspecs(hookspecs)
        self._found: dict[tuple[str, str], Registered] = {}
        self._kinds: dict[str, Kind] = dict(KINDS)
        self.broken: list[Broken] = []
        self.files: list[PluginCode] = []
        """The single-file plugins that were loaded, each content once."""
        self.replaced: list[Replaced] = []
        self.sources: Mapping[tuple[str, str], str] = {}
        """The package that each component came from, by kind and name, as a run that is read tells it."""

    def add(
        self,
        module: ModuleType,
        *,
        source: str,
        path: Path | None = None,
        replacing: bool = False,
        known: Iterable[str] = (),
    ) -> None:
        """Register all components of a plugin module, or none of them.

        With `replacing` they take the place of components with the same names.

        Raises:
            PluginError: with all that could be found at once: the mistakes that are `known` already,
                unknown hooks, hooks that do not yield components, and components that break the rules;
                else for a name that is taken.
        """
        if self._pm.is_registered(module):
            return
        kinds, mistakes = dict(self._kinds), list(known)
        try:
            self._declare(module, source)
            self._register(module, source, mistakes)
            found = self._collect(module, path, mistakes)
            if mistakes:
                raise PluginError(*mistakes, source=source)
            new = [Registered(kind, item, source, path) for kind, item in found]
            self._check_names(new, replacing=replacing)
        except BaseException:
            self._kinds = kinds
            if self._pm.is_registered(module):
                self._pm.unregister(module)
            raise
        for item in new:
            key = (item.kind, item.component.name)
            if key in self._found:
                self.replaced.append(Replaced(self._found[key], item))
            self._found[key] = item

    def add_installed(self, *, strict: bool = False) -> None:
        """Load the entry points of the group `slotlab.plugins`.

        A package that fails is set aside in `broken`, unless `strict`.
        """
        loaded: list[tuple[ModuleType, str]] = []
        for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
            source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
            with self._setting_aside(source, strict=strict):
                loaded.append((entry.load(), source))
        # Those that bring kinds of their own first: others may provide components of these kinds.
        for module, source in sorted(loaded, key=lambda item: not hasattr(item[0], KINDS_HOOK)):
            with self._setting_aside(source, strict=strict):
                self._add_foreign(module, source)

    @contextmanager
    def _setting_aside(self, source: str, *, strict: bool) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:  # a broken package must not end the command
            reason = error.reason if isinstance(error, PluginError) else describe(error)
            if strict:
                raise PluginError(reason, source=source) from error
            self.broken.append(Broken(source, reason))

    def add_file(self, path: Path) -> None:
        """Load a single-file plugin that the user named.

        Raises:
            PluginError: if the file is missing, cannot be imported or breaks the rules.
        """
        self.add_code(read_code(path))

    def add_files(self, paths: Iterable[Path]) -> None:
        """Load single-file plugins that the user named.

        Raises:
            PluginError: with what is wrong with all of them.
        """
        wrong: list[PluginError] = []
        for path in paths:
            try:
                self.add_file(path)
            except PluginError as error:
                wrong.append(error)
        if len(wrong) == 1:
            raise wrong[0]
        if wrong:
            raise PluginError(*(line for error in wrong for line in error.lines()))

    def add_code(self, code: PluginCode, *, replacing: bool = False) -> None:
        """Load a single-file plugin that was read; the same name and content is loaded only once.

        Args:
            code: the plugin.
            replacing: let its components take the place of others with their names.

        Raises:
            PluginError: if it cannot be imported or breaks the rules.
        """
        if any((known.name, known.digest) == (code.name, code.digest) for known in self.files):
            return
        self._add_foreign(import_code(code), code.source, code.path.resolve(), replacing=replacing)
        self.files.append(code)

    def _add_foreign(
        self, module: ModuleType, source: str, path: Path | None = None, *, replacing: bool = False
    ) -> None:
        known = check_api(module, source)
        self.add(module, source=source, path=path, replacing=replacing, known=known)
        if not hasattr(module, KINDS_HOOK) and not any(i.source == source for i in self._found.values()):
            hint = f"write a function called {KINDS['encoder'].hook}, or another hook, under '@hookimpl'"
            raise PluginError(f"provides no components; {hint}", source=source)

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Every kind of component by name: slotlab's own, and those that plugins bring."""
        return self._kinds

    def find(self, kind: str, name: str) -> Registered | None:
        """Return a component by kind and name; None if there is none."""
        return self._found.get((kind, name))

    def names(self, kind: str) -> list[str]:
        """Return the names of the components of a kind, sorted."""
        return sorted(name for k, name in self._found if k == kind)

    def all(self, kind: str | None = None) -> list[Registered]:
        """Return every component, or those of one kind, sorted by kind and name."""
        order = list(self._kinds)
        chosen = (item for item in self._found.values() if kind in (None, item.kind))
        return sorted(chosen, key=lambda item: (order.index(item.kind), item.component.name))

    def explain_unknown(self, kind: str, name: str) -> str:
        """Return a message: the name is not known, what was perhaps meant, which plugins did not load."""
        names = self.names(kind)
        shown = name if len(name) <= LONGEST_WORD else f"{name[:LONGEST_WORD]}..."
        text = (
            f"no {kind} is called '{shown}'{suggest(name, names)} (available: {', '.join(names) or 'none'})"
        )
        if source := self.sources.get((kind, name)):
            text += f"; the run was trained with that of {source}, a package which is not installed here"
        for item in self.broken:
            text += f"; plugin not loaded: {item.source} ({item.reason})"
        return text

    def _declare(self, module: ModuleType, source: str) -> None:
        """Add the kinds that a plugin brings, whose hooks may then be used."""
        declare = getattr(module, KINDS_HOOK, None)
        if declare is None or self._pm.parse_hookimpl_opts(module, KINDS_HOOK) is None:
            return  # `_register` complains of a missing decorator
        mistakes: list[str] = []
        kinds = yielded(declare, KINDS_HOOK, Kind, None, mistakes)
        if mistakes:  # without its kinds, its other hooks would seem unknown
            raise PluginError(*mistakes, source=source)
        for kind in kinds:
            known = self._kinds.get(kind.name)
            plurals = {other.plural for other in self._kinds.values()} | {"kinds"}
            if known is not None or kind.plural in plurals:
                text = f"the kind '{kind.name}' ('{kind.plural}') is there already"
                raise PluginError(f"{text}; give yours another name", source=source)
            self._kinds[kind.name] = kind
            if not hasattr(self._pm.hook, kind.hook):  # it stays when a plugin that failed is loaded again
                self._pm.add_hookspecs(
                    type("Kinds", (), {kind.hook: staticmethod(hookspecs.hookspec(_of_plugin))})
                )

    def _register(self, module: ModuleType, source: str, mistakes: list[str]) -> None:
        known = [KINDS_HOOK, *(kind.hook for kind in self._kinds.values())]
        for name in dir(module):
            options = self._pm.parse_hookimpl_opts(module, name)
            hook = name if options is None else options.get("specname") or name
            if options is not None and hook not in known:
                hint = f"{suggest(hook, known)} (hooks are: {', '.join(known)})"
                mistakes.append(f"unknown hook '{hook}'{hint}")
            if options is None and name in known:
                mistakes.append(f"the hook {name} lacks its decorator; write '@hookimpl'")
        try:
            self._pm.register(module, name=f"{module.__name__} from {source}")
        except pluggy.PluginValidationError as error:
            text = "; ".join(str(error).splitlines()[1:])  # the first line names the plugin and the hook
            raise PluginError(f"pluggy refuses a hook: {text}", source=source) from error

    def _collect(
        self, module: ModuleType, path: Path | None, mistakes: list[str]
    ) -> list[tuple[str, Component[Any]]]:
        return [
            (kind.name, component)
            for kind in self._kinds.values()
            for impl in getattr(self._pm.hook, kind.hook).get_hookimpls()
            if impl.plugin is module
            for component in yielded(impl.function, kind.hook, Component, path, mistakes)
        ]

    def _check_names(self, new: list[Registered], *, replacing: bool) -> None:
        taken = {} if replacing else dict(self._found)
        for item in new:
            key, what = (item.kind, item.component.name), f"the {item.kind} '{item.component.name}'"
            if key in taken and taken[key].source == item.source:
                raise PluginError(f"provides {what} twice; give one of them another name", source=item.source)
            if key in taken:
                sources = f"{taken[key].source} and {item.source}"
                text = f"two plugins provide {what}: {sources}; give one of them another name"
                raise PluginError(text + _or_leave_out(taken[key], item))
            taken[key] = item


def _or_leave_out(one: Registered, other: Registered) -> str:
    """Say that a file need not be named where a package that is installed provides the same."""
    files = [item for item in (one, other) if item.path is not None]
    packages = [item for item in (one, other) if item.path is None]
    if not files or not packages or packages[0].source.startswith(f"{PROJECT} "):
        return ""  # a file is named in place of one of slotlab's own because it is another one
    file = files[0].source.partition("@")[0]
    return (
        f", or leave {file} out, its line under 'plugins:' of the spec or its --plugin, and use that of "
        f"{packages[0].source}, which is installed"
    )


def _of_plugin() -> Iterable[Component[Any]]:
    """Yield components of a kind that a plugin brought."""
    raise NotImplementedError
