"""What a slot model knows of images before it decodes."""

from dataclasses import dataclass

from torch import Tensor

from slotlab.framework.contracts import Found, Grouped, Slots


@dataclass(frozen=True)
class Encoded:
    """What the model knows of images before it decodes: features, tokens, slots."""

    features_BCHW: Tensor
    tokens_BND: Tensor
    initial: Slots
    grouped: Grouped

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the feature map."""
        return self.features_BCHW.shape[2], self.features_BCHW.shape[3]

    @property
    def found(self) -> Found:
        """The slots, and the attention on the feature map's grid."""
        attention_BKN = self.grouped.attention_BKN
        return Found(self.grouped.slots, attention_BKN.reshape(*attention_BKN.shape[:2], *self.grid))
