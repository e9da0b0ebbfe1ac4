"""What components receive when they are built (`*Context`), and what they give.

    from slotlab.contracts import EncoderContext, Slots

Axes, in every name: B images, C channels, H rows, W columns, N tokens, K slots, D slot width.
`python -m pydoc slotlab.registry.hookspecs` prints what each kind of component has to be.
"""

from slotlab.framework.contracts import *  # noqa: F403 - the list is kept in one place
from slotlab.framework.contracts import __all__ as __all__
