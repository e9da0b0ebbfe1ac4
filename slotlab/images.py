"""How images are prepared for a model: protocols, normalization, and what a network sees of an image.

    from slotlab.images import Normalization, protocol

`protocol` makes a protocol: crop, size, resize, splits, and how a model is scored. `Normalization` brings
images of a value range to what trained weights expect. `seen_size` finds how much of an image a network looks
at.
"""

from slotlab.framework.model.borders import seen_size
from slotlab.framework.model.normalization import Normalization
from slotlab.framework.spec.protocol import protocol

__all__ = ["Normalization", "protocol", "seen_size"]
