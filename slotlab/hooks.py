"""The hooks of a plugin file, one for each kind: what `build` receives, and what it has to return.

`python -m pydoc slotlab.hooks` prints them; `slotlab.contracts` has the classes that they name.
"""

from slotlab.registry.hookspecs import *  # noqa: F403 - the list is kept in one place
from slotlab.registry.hookspecs import KINDS

__all__ = [kind.hook for kind in KINDS.values()]
