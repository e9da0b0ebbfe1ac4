"""Builds the components that a model's settings name, each at its place in the spec."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from slotlab.framework.contracts import AuxiliaryConfig, ObjectiveContext
from slotlab.framework.model.weighted_auxiliary import WeightedAuxiliary
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.identity import canonical, located_refs
from slotlab.framework.spec.schema import OBJECTIVE, ExperimentSpec
from slotlab.registry import ComponentError, Ref

if TYPE_CHECKING:
    from slotlab.framework.model.build import Builder

PROMISED = ("target_shape", "target", "loss", "to_image")
"""The attributes that an objective has."""


class SpecParts:
    """The `Parts` of one spec: what is wrong is noted in its builder, with the path in the spec."""

    def __init__(self, builder: "Builder"):
        self._builder = builder
        self._before = len(builder.problems)
        self.used: set[str] = set()
        """Which of the spec's `objective` and `auxiliary` the model asked for."""

    @property
    def failed(self) -> bool:
        """Whether anything was wrong so far."""
        return len(self._builder.problems) > self._before

    def build(
        self,
        ref: Ref,
        context: Any,
        *path: str | int,
        attributes: tuple[str, ...] = (),
        check: Callable[[Any], None] = lambda built: None,
    ) -> Any:
        """Build one component of the model; on a mistake note it and return None."""
        return self._builder.part(ref, context, "model", *path, attributes=attributes, check=check)

    def mistake(self, text: str, *path: str | int) -> None:
        """Note something else that is wrong, at a path in the model's settings."""
        self._builder.problems.append(PathProblem(("model", *path), text))

    def objective(self, context: ObjectiveContext) -> Any:
        """Build the spec's objective; on a mistake note it and return None."""
        self.used.add("objective")
        return self._builder.part(self._builder.spec.objective, context, "objective", attributes=PROMISED)

    def auxiliaries(self, context: Any) -> Mapping[str, nn.Module]:
        """Build the spec's auxiliary losses, by name."""
        self.used.add("auxiliary")
        found: dict[str, nn.Module] = {}
        for index, ref in enumerate(self._builder.spec.auxiliary):
            path = ("auxiliary", index)
            if ref.name in found:
                text = f"the auxiliary loss '{ref.name}' is given twice; keep one"
                self._builder.problems.append(PathProblem(path, text))
            if hasattr(nn.ModuleDict, ref.name):
                text = f"an auxiliary loss cannot be called '{ref.name}', as something in torch's modules is"
                self._builder.problems.append(PathProblem(path, f"{text}; rename it in its plugin"))
                continue
            built = self._builder.part(ref, context, *path, attributes=("traced",), check=is_callable)
            if built is None:
                continue
            assert isinstance(ref.config, AuxiliaryConfig)  # the spec's own check
            found[ref.name] = WeightedAuxiliary(built, ref.config.weight)
        return found

    def unused(self, model: str) -> Iterator[PathProblem]:
        """Refuse an objective or auxiliary losses that the model, by its name, does not ask for."""
        spec = self._builder.spec
        if "objective" not in self.used and canonical(spec.objective) != OBJECTIVE:
            text = f"the model '{model}' has losses of its own, and no use for an objective; leave it out"
            yield PathProblem(("objective",), text)
        if "auxiliary" not in self.used and spec.auxiliary:
            yield PathProblem(
                ("auxiliary",), f"the model '{model}' takes no auxiliary losses; leave them out"
            )


def is_callable(built: object) -> None:
    """Refuse an auxiliary loss that cannot be called."""
    if not callable(built):
        raise ComponentError("what it builds should be called with a ModelOutput, and cannot be called")


def part_names(spec: ExperimentSpec) -> dict[str, str]:
    """Return how messages name the parts of a model, such as `encoder 'cnn'`, by their attribute in it."""
    names: dict[str, str] = {}
    for path, ref in located_refs(spec):
        words = f"{ref.registered.kind} '{ref.name}'"
        if path[0] == "model" and len(path) > 1:
            names.setdefault(str(path[1]), words)  # of nested components the outermost names the part
        elif path[0] == "objective" and len(path) == 1:
            names["objective"] = words
        elif path[0] == "auxiliary" and len(path) == 2:
            names[f"auxiliary.{ref.name}"] = words
    return names
