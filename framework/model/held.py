"""A frozen module that another one uses and does not own."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Held(nn.Module):
    """Holds a frozen module: it moves with this one, and is in no checkpoint, since the spec names it.

    Copies of this one, such as the average of weights, share the module. It stays in the mode that it is in.
    """

    def __init__(self, module: Any):
        super().__init__()
        self._held: list[Any] = [module]  # a list hides it from torch: it is no child

    @property
    def module(self) -> Any:
        """The module."""
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Held":
        self._held[0]._apply(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Held":
        return Held(self.module)
