"""A file of weights by name, read without executing code."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from slotlab.registry import ComponentError


def read_weights(path: Path, *, field: str) -> dict[str, Tensor]:
    """Return tensors by name, on the CPU, from a file of safetensors or one that torch saved.

    Raises:
        ComponentError: at the setting `field`, if the file does not exist, or is of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ComponentError(f"weights file {path} does not exist", field=field)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ComponentError(f"weights file {path} cannot be read as weights", field=field) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ComponentError(f"weights file {path} holds no weights by name", field=field)
    return state
