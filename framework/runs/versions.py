"""Check that this slotlab computes from a run's weights what the run was trained to compute."""

from collections.abc import Iterator
from typing import Any

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.identity import located_refs
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import Ref, SlotlabError


class OtherVersion(SlotlabError):  # noqa: N818 - not the run is wrong, but the version
    """Parts of a model were trained with a version that computes something else."""

    def __init__(self, lines: list[str]):
        self._lines = lines
        super().__init__("\n".join(lines))

    def lines(self) -> list[str]:
        """One line for each part."""
        return self._lines


def check_versions(run: RunFolder, spec: ExperimentSpec) -> None:
    """Refuse weights that were trained with other versions of the model's parts.

    A part that can reproduce its former version (`Component.earlier`) is accepted with the settings for it.

    Raises:
        OtherVersion: with each such part, and the settings.
    """
    facts: Any = run.read_provenance()
    for restart in facts.get("restarts") or ():
        facts = restart if isinstance(restart, dict) and "components" in restart else facts
    trained = {
        (one["kind"], one["name"]): one["version"]
        for one in facts.get("components") or ()
        if isinstance(one, dict) and {"kind", "name", "version"} <= one.keys()
    }
    lines = []
    for path, ref in model_refs(spec):
        registered = ref.registered
        version = trained.get((registered.kind, ref.name), registered.component.version)
        if version != registered.component.version:
            line = _complaint(path, ref, version)
            lines += [] if line is None else [f"{run.path}: {line}"]
    if lines:
        raise OtherVersion(list(dict.fromkeys(lines)))


def model_refs(spec: ExperimentSpec) -> Iterator[tuple[str, Ref]]:
    """Yield the components that compute a model's output, with their path in the spec."""
    for path, ref in located_refs(spec):
        if path[0] in ("model", "objective"):
            yield ".".join(map(str, path)), ref


def _complaint(path: str, ref: Ref, version: Any) -> str | None:
    component = ref.registered.component
    settings = component.earlier.get(version)
    if settings is not None and all(getattr(ref.config, key) == value for key, value in settings.items()):
        return None
    kind = ref.registered.kind
    text = (
        f"trained with version {version} of the {kind} '{ref.name}', and this is version {component.version}"
    )
    text += ", which computes something else from the same settings"
    if settings is None:
        return f"{text}; use the slotlab or the plugin that it was trained with, or train it again"
    lines = " and ".join(f"'{key}: {value}'" for key, value in settings.items())
    return f"{text}; write {lines} under {path} in its spec.yaml to use it as it was trained"
