"""Specs as objects: what `slotlab.load_spec` returns, and what `show`, `validate` and `schema` find out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import warn
from slotlab.framework.api.estimating import estimate_prepared
from slotlab.framework.api.given import Paths, paths_of
from slotlab.framework.api.settings import Settings, assignments
from slotlab.framework.api.spec_laws import broken_laws
from slotlab.framework.jobs.train import Prepared, prepare
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.json_schema import spec_schema
from slotlab.framework.spec.load import LoadedSpec, OtherSort
from slotlab.framework.spec.merge import SHIPPED
from slotlab.framework.spec.tree import dump
from slotlab.framework.study.arms import metrics_of, plain
from slotlab.framework.study.json_schema import ablation_schema
from slotlab.framework.study.load import Ablation, load_ablation
from slotlab.registry import SlotlabError


@dataclass(frozen=True, repr=False)
class Spec:
    """A valid spec with all its settings, whose parts fit together."""

    prepared: Prepared
    name: str
    """The file, or `slotlab:NAME`."""
    options: dict[str, Any]
    """How it was loaded, for `with_settings`."""

    @property
    def loaded(self) -> LoadedSpec:
        """The spec with where each setting came from, for the framework's own functions."""
        return self.prepared.loaded

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as plain data, defaults filled in; a copy."""
        return self.loaded.spec.model_dump(mode="json")

    @property
    def run_id(self) -> str:
        """The identity of a run of this spec: a hash of all settings that change the trained weights."""
        return run_id(self.loaded.spec)

    @property
    def warnings(self) -> list[str]:
        """What is allowed and rarely meant, in sentences with file and line."""
        return [str(item) for item in self.prepared.warnings]

    def broken_laws(self) -> list[str]:
        """Return which cheap laws the spec's own components break, in sentences with file and line.

        `slotlab validate` prints them; `slotlab.check` checks all laws.
        """
        return broken_laws(self.loaded)

    def to_yaml(self) -> str:
        """Return the spec with all its settings as the text of a spec file."""
        return dump(self.settings)

    def with_settings(self, settings: Settings) -> "Spec":
        """Return the spec with other settings, read again from its file.

        Raises:
            SpecError: with every mistake.
        """
        sets = [*self.options["sets"], *assignments(settings)]
        return prepared_spec(self.name, **{**self.options, "sets": sets})

    def estimate(self, *, device: str = "auto", images: int | None = None) -> dict[str, Any]:
        """Time a few steps of a training, on random images, and return what a training would take.

        Args:
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            images: how many there are to train on; None counts them in the data.

        Raises:
            SlotlabError: if the device, or data that has to be counted, is not there.
        """
        return estimate_prepared(self.prepared, device=device, images=images)

    def __repr__(self) -> str:
        return f"<Spec '{self.loaded.spec.name}' of {self.name}, run id {self.run_id}>"


def load_spec(
    name: str | Path | Spec,
    settings: Settings | None = None,
    *,
    plugins: Paths = (),
    strict_plugins: bool = False,
    trust: bool = False,
) -> Spec:
    """Read a spec and check it: settings, names, and that the parts of the model fit together.

    No data is touched. Warnings are in `Spec.warnings`, and printed where the spec is used.

    >>> import slotlab
    >>> spec = slotlab.load_spec("slotlab:demo", {"model.slots": 5, "training.batch_size": 4})
    >>> spec.settings["model"]["slots"]
    5

    Args:
        name: a file, `slotlab:NAME` for a spec that comes with slotlab, or a spec that was loaded before.
        settings: other settings by dotted path, laid over the file in their order; a block may be a mapping.
        plugins: single-file plugins to load besides those that the spec names.
        strict_plugins: fail if an installed plugin cannot be loaded.
        trust: run code that came with another user's run (docs/explanation/trust.md).

    Raises:
        SpecError: with every mistake, each with file and line; a `SlotlabError`, as all errors of slotlab.
    """
    if isinstance(name, Spec):
        if paths_of(plugins, "a plugin"):
            raise SlotlabError("a loaded spec keeps its plugins; name others when its file is loaded")
        return name.with_settings(settings) if settings else name
    sets = assignments(settings)
    options = {"sets": sets, "plugins": paths_of(plugins, "a plugin"), "strict_plugins": strict_plugins}
    return prepared_spec(str(name), **options, trust=consent(given=trust))


def prepared_spec(name: str, **options: Any) -> Spec:
    """Load and check a spec; see `spec.load.load_spec` for the options."""
    return Spec(prepare(name, **options), name, options)


def as_spec(
    spec: str | Path | Spec,
    settings: Settings | None,
    *,
    plugins: Paths = (),
    strict_plugins: bool = False,
    trust: bool = False,
) -> Spec:
    """Return a spec that was given by name or as an object, with other settings, and print its warnings."""
    found = load_spec(spec, settings, plugins=plugins, strict_plugins=strict_plugins, trust=trust)
    warn(found.prepared.warnings)
    return found


def schema(*, ablation: bool = False, plugins: Paths = ()) -> dict[str, Any]:
    """Return the JSON Schema of spec files, for completion in editors.

    >>> import slotlab
    >>> slotlab.schema()["title"]
    'slotlab experiment'

    Args:
        ablation: of ablation files instead.
        plugins: single-file plugins whose components are to be in it.
    """
    registry = load_registry(paths_of(plugins, "a plugin"))
    return ablation_schema(registry) if ablation else spec_schema(registry)


def resolved(name: str, **options: Any) -> dict[str, Any]:
    """Return a spec with every default filled in, its run id and its warnings; an ablation with its arms."""
    try:
        prepared = prepare(name, **options)
    except OtherSort:
        return resolved_ablation(load_ablation(name, **options))
    spec = prepared.loaded.spec
    return {
        "spec": spec.model_dump(mode="json"),
        "run_id": run_id(spec),
        "warnings": [str(item) for item in prepared.warnings],
    }


def resolved_ablation(ablation: Ablation) -> dict[str, Any]:
    """Return an ablation with every default filled in, its arms, the number of its runs, and its warnings.

    Of a search, whose arms are proposed while it runs, the first arm alone is known.
    """
    spec = ablation.spec
    data = plain(spec.model_dump(mode="json"))
    metrics = spec.compare.metrics or metrics_of(ablation.arms[0].loaded.spec)
    data["base"] = spec.base if spec.base.startswith(SHIPPED) else str(ablation.base.absolute())
    data["compare"] |= {
        "metrics": list(metrics),
        "primary": spec.compare.primary or metrics[0],
        "baseline": dict(ablation.baseline.labels),
    }
    number = len(ablation.arms) if spec.search is None else spec.search.trials
    return {
        "ablation": data,
        "arms": [{"name": arm.name, "settings": dict(arm.settings)} for arm in ablation.arms],
        "baseline": ablation.baseline.name,
        "runs": number * len(spec.seeds),
        "warnings": [str(item) for item in ablation.warnings],
    }


def validity(name: str, *, laws: bool = True, **options: Any) -> dict[str, Any]:
    """Validate one spec or ablation; mistakes are part of the result, not raised.

    With `laws`, broken ones of its own components are among the warnings.
    """
    try:
        facts = checked(name, laws=laws, **options)
    except SlotlabError as error:
        return {"spec": name, "valid": False, "errors": error.lines(), "warnings": []}
    return {"spec": name, "valid": True, "errors": [], **facts}


def checked(name: str, *, laws: bool, **options: Any) -> dict[str, Any]:
    """Return the warnings and the size of what a file declares.

    Raises:
        SlotlabError: for every mistake.
    """
    try:
        prepared = prepare(name, **options)
    except OtherSort:
        ablation = load_ablation(name, **options)
        arms = len(ablation.arms)
        runs = arms * len(ablation.spec.seeds)
        return {"warnings": [str(item) for item in ablation.warnings], "arms": arms, "runs": runs}
    broken = broken_laws(prepared.loaded) if laws else []
    warnings = [*map(str, prepared.warnings), *broken]
    return {"warnings": warnings, "run_id": run_id(prepared.loaded.spec)}
