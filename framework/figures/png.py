"""Pictures as PNG files in memory."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_png(picture: NDArray[Any]) -> bytes:
    """Return an RGB (H, W, 3), RGBA (H, W, 4) or gray (H, W) picture, uint8, as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()
