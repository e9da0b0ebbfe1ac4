"""The component that is checked: how it is built, on what, and where its code is."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from slotlab.framework.laws.bench import Bench
from slotlab.framework.laws.benches import BENCHES
from slotlab.framework.laws.blame import files_of, line_of_attribute, line_of_code
from slotlab.framework.laws.verdict import Broken, Place, Skip
from slotlab.registry import ComponentConfig, ComponentError, Registered, Registry

FOREIGN = ("torch.", "slotlab.framework.", "builtins")
"""Modules that are not a component's own, although it may be made of what they define."""


class Lacking(Skip):
    """A setting has no default and was not given: nothing can be built."""


@dataclass
class Subject:
    """One registered component, with the settings that its author gives."""

    item: Registered
    registry: Registry
    settings: Mapping[str, Any] = field(default_factory=dict)
    code_files: tuple[str, ...] = ()
    """The Python files of the plugin that it comes from; empty if it comes from a package."""
    kind_of_built: type | None = None
    """The class of what it builds, known once it was built."""

    @property
    def kind(self) -> str:
        """The component's kind."""
        return self.item.kind

    @property
    def name(self) -> str:
        """The component's name."""
        return self.item.component.name

    @property
    def bench(self) -> Bench:
        """What components of this kind are tried on."""
        return BENCHES[self.kind]

    @cached_property
    def files(self) -> list[str]:
        """The files in which a line of the component's may be."""
        things = [*self._functions(), self.item.component.build, self.item.component.config]
        if self.kind_of_built is not None:
            things.append(self.kind_of_built)
        own = [one for one in things if not module_of(one).startswith(FOREIGN)]
        return [*dict.fromkeys((*self.code_files, *files_of(*(own or things))))]

    def _functions(self) -> list[Any]:
        """Return the functions that the component's `build` holds, such as that of a `mask_metric`."""
        return (
            [one for one in vars(self.item.component.build).values() if callable(one)]
            if hasattr(self.item.component.build, "__dict__")
            else []
        )

    @cached_property
    def config(self) -> ComponentConfig:
        """Its settings: the author's, else the defaults.

        Raises:
            Broken: for wrong ones.
            Lacking: if one that has no default is not given.
        """
        model = self.item.component.config
        lacking = [name for name, one in model.model_fields.items() if one.is_required()]
        lacking = [name for name in lacking if name not in self.settings]
        if lacking:
            hint = " ".join(f"--set {name}=VALUE" for name in lacking)
            raise Lacking(f"{', '.join(lacking)} has no default: give {hint}")
        try:
            found: ComponentConfig = model.model_validate(self.settings, context={"registry": self.registry})
        except ValidationError as error:
            texts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            raise Broken(f"its settings are refused: {'; '.join(texts)}", "give others with --set") from None
        return found

    @cached_property
    def context(self) -> Any:
        """The first context in which the component can be built.

        Raises:
            ComponentError: why it refuses the first one, if it refuses them all.
        """
        refusal = None
        for context in self.bench.contexts_of(self.config):
            try:
                self.build(context)
            except ComponentError as error:
                refusal = refusal or error
            else:
                return context
        assert refusal is not None
        raise refusal

    def build(self, context: Any = None, seed: int = 0) -> Any:
        """Build the component, its weights drawn by a seed."""
        context = self.context if context is None else context
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = self.item.component.build(self.config, context)
        if self.kind_of_built is None:
            self.kind_of_built = type(built)
            self.__dict__.pop("files", None)
        return built

    def used(self) -> Any:
        """Build the component in evaluation mode, with weights as after some training: none are all alike.

        A layer whose weights begin at zero would hide what lies before it.
        """
        part = evaluated(self.build())
        stream = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for one in part.parameters() if isinstance(part, torch.nn.Module) else ():
                if one.is_floating_point() and one.numel() and one.min() == one.max():
                    one.add_(0.1 * torch.randn(one.shape, generator=stream).to(one.dtype))
        return part

    def inputs(self, batch: int = 2, context: Any = None, seed: int = 5) -> tuple[torch.Tensor, ...]:
        """Return what the component is called with, by default in its own context."""
        return self.bench.inputs(self.context if context is None else context, batch, seed)

    def call(
        self, part: Any, inputs: tuple[torch.Tensor, ...] | None = None, *, seed: int = 1, context: Any = None
    ) -> tuple[torch.Tensor, ...]:
        """Call what was built; return all tensors of the result, the first axis being images."""
        context = self.context if context is None else context
        inputs = self.inputs(context=context) if inputs is None else inputs
        stream = None if inputs[0].device.type == "meta" else torch.Generator().manual_seed(seed)
        found: tuple[torch.Tensor, ...] = self.bench.call(part, context, inputs, stream)
        return found

    def place(self, *names: str) -> Place | None:
        """Return where the class of what is built has the first of these methods or attributes, or itself."""
        kind = self.kind_of_built
        for name in (*names, "forward", "__call__") if kind is not None else ():
            assert kind is not None
            found = line_of_attribute(kind, name)
            if found is not None and str(found.file) in self.files:
                return found
        for thing in (*self._functions(), self.item.component.build, kind, self.item.component.config):
            place = None if thing is None else line_of_code(thing)
            if place is not None and str(place.file) in self.files:
                return place
        return Place(Path(self.files[0]), 1) if self.files else None


def evaluated(part: Any) -> Any:
    """Bring a part into evaluation mode, if it has modes."""
    return part.eval() if isinstance(part, torch.nn.Module) else part


def module_of(thing: Any) -> str:
    """Return the name of the module in which something is defined."""
    owner = thing if hasattr(thing, "__qualname__") else type(thing)
    return str(getattr(owner, "__module__", ""))


@contextmanager
def streams_restored() -> Iterator[None]:
    """Leave the random streams that belong to nobody as they were."""
    numpy, python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    np.random.set_state(numpy)
    random.setstate(python)
