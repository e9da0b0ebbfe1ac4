"""Initial weights of a model other than torch's own defaults."""

from collections.abc import Callable, Mapping

from torch import nn

from slotlab.framework.contracts import HasOwnWeights


def draw_as_keras(model: nn.Module) -> None:
    """Draw the weights of convolutions, linear maps and GRU cells anew, as Keras does by default.

    Glorot-uniform weights, orthogonal recurrent weights, zero biases; torch's own weights are so much
    smaller that the position code dominates the image at first. Parts with `own_weights = True`, such as a
    backbone with loaded weights, and parameters of other kinds stay as they are. Source: the defaults of
    Keras's `Conv2D`, `Conv2DTranspose`, `Dense` and `GRUCell`, on which Locatello et al. 2020 rely.

    Args:
        model: of any dtype; changed in place, by draws from torch's global generator.
    """
    if isinstance(model, HasOwnWeights) and model.own_weights:
        return
    if isinstance(model, nn.GRUCell):
        _draw_gru(model)
    elif isinstance(model, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(model.weight)
        if model.bias is not None:
            nn.init.zeros_(model.bias)
    for part in model.children():
        draw_as_keras(part)


def _draw_gru(cell: nn.GRUCell) -> None:
    # As in Keras, the three gates are drawn as one matrix.
    nn.init.xavier_uniform_(cell.weight_ih)
    nn.init.orthogonal_(cell.weight_hh)
    if cell.bias:
        nn.init.zeros_(cell.bias_ih)
        nn.init.zeros_(cell.bias_hh)


WEIGHT_INITS: Mapping[str, Callable[[nn.Module], None]] = {
    "torch": lambda model: None,
    "keras": draw_as_keras,
}
"""Functions that initialize a model in place, by the spec's name."""
