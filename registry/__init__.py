"""Discovery of components: kinds, hooks, plugins and typed references to them.

The lowest layer: it knows pluggy and pydantic, and nothing of tensors. A plugin
module needs only these names from here:

    from slotlab.registry import Component, ComponentConfig, hookimpl
"""

from slotlab.registry.code import PluginCode, read_code
from slotlab.registry.component import ClosedModel, Component, ComponentConfig
from slotlab.registry.errors import ComponentError, PluginError, SlotlabError
from slotlab.registry.hookspecs import API_VERSION, KINDS, Kind, hookimpl
from slotlab.registry.manager import Broken, Registered, Registry
from slotlab.registry.reference import Ref, RefTo

__all__ = [
    "API_VERSION",
    "KINDS",
    "Broken",
    "ClosedModel",
    "Component",
    "ComponentConfig",
    "ComponentError",
    "Kind",
    "PluginCode",
    "PluginError",
    "Ref",
    "RefTo",
    "Registered",
    "Registry",
    "SlotlabError",
    "hookimpl",
    "read_code",
]

if __name__ != "slotlab.registry":  # the same file loaded under two names makes two of every class
    raise ImportError(f"this folder is the package slotlab.registry, but it was imported as {__name__!r}")
