"""The pages of spec files: every section with its keys, defaults and meaning."""

import inspect
from collections.abc import Iterator

from page import Page, prose
from pydantic import BaseModel
from settings import sections, settings_table

from slotlab.framework.spec.protocol import ProtocolConfig
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.study.ablation import AblationSpec
from slotlab.registry import Registry

UP = "components/"
SPEC = """# Keys of a spec

All sections of an experiment's file. How files extend each other, how paths are read and what a run's
identity is made of is told in [specs](specs.md). A key whose type is a link takes a component: its name, or
a block `{name: NAME, ...}` with its settings.
"""
ABLATION = """# Keys of an ablation

All sections of an ablation's file; [ablations](../how_to/ablations.md) shows how they are used.
"""


def pages(registry: Registry) -> Iterator[Page]:
    """Yield the page of specs and the page of ablations."""
    spec = [
        SPEC,
        *section(ExperimentSpec, registry, ""),
        "## Settings of every protocol\n",
        prose(inspect.getdoc(ProtocolConfig)),
        settings_table(ProtocolConfig, registry, UP),
    ]
    yield Page("reference/spec_keys.md", "\n".join(spec))
    ablation = [
        ABLATION,
        *section(AblationSpec, registry, ""),
    ]
    yield Page("reference/ablation_keys.md", "\n".join(ablation))


def section(model: type[BaseModel], registry: Registry, path: str) -> Iterator[str]:
    """Yield the parts of a section and of those below it."""
    yield f"## `{path}`\n" if path else "## The file\n"
    yield prose(inspect.getdoc(model))
    yield settings_table(model, registry, UP)
    for key, below in sections(model):
        yield from section(below, registry, f"{path}.{key}" if path else key)
