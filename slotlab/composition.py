"""Slots mixed, changed, drawn from a library, and painted; docs/how_to/composition.md is a walk through it.

from slotlab.composition import at, mix

composer = slotlab.open_run("runs/demo-1a2b3c4d").composer
seen = composer.look("val", [3, 8])
picture = composer.decode(mix(at(seen.slots, [0]), [0, 2], at(seen.slots, [1]), [1]))
"""

from slotlab.framework.composition import *  # noqa: F403 - the list is kept in one place
from slotlab.framework.composition import __all__ as __all__
