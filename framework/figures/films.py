"""Films: sequences of pictures, as animated WebP and as MP4."""

import io
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
"""A small picture is enlarged until its shorter side has about so many pixels."""
FRAME_MS = 160
"""How long a film shows a picture, in milliseconds."""
HIGHEST = 16_383
"""Rows of a WebP at most."""
GAP = 4
"""Pixels between pictures side by side."""
Film = Sequence[NDArray[np.uint8]]
"""One picture (H, W, 3) for each frame."""


def webp(film: Film) -> bytes:
    """Return a lossless WebP that plays for ever; equal pictures in a row become a longer one."""
    pictures = [Image.fromarray(np.ascontiguousarray(picture)) for picture in film]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=FRAME_MS,
        loop=0,
        lossless=True,
    )
    return buffer.getvalue()


def strip(film: Film) -> bytes:
    """Return all pictures of a film as one WebP, the first at the top, lossless but where it is too high."""
    whole = Image.fromarray(np.ascontiguousarray(np.concatenate(film)))
    height = len(film) * min(film[0].shape[0], HIGHEST // len(film))
    if height < whole.height:
        width = max(1, round(whole.width * height / whole.height))
        whole = whole.resize((width, height), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    whole.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def has_codec() -> bool:
    """Return whether films can be written as MP4: PyAV (extra `video`) is there, with H.264."""
    if find_spec("av") is None:
        return False
    import av

    return "libx264" in av.codecs_available


def mp4(film: Film) -> bytes:
    """Return a film as MP4 (H.264), which slides and players show; the same film gives the same bytes."""
    import av

    height, width = (size - size % 2 for size in film[0].shape[:2])  # the codec halves colors
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=round(1000 / FRAME_MS), options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in film:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def enlarged(picture_HWC: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """Return a small picture with each pixel repeated, so that its shorter side has about `side` pixels."""
    factor = max(1, side // min(picture_HWC.shape[:2]))
    return picture_HWC.repeat(factor, axis=0).repeat(factor, axis=1)


def beside(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return pictures (H, W, 3), enlarged, side by side on white, as high as the highest."""
    row = [enlarged(picture) for picture in pictures]
    width = sum(picture.shape[1] for picture in row) + GAP * (len(row) - 1)
    whole_HWC = np.full((max(picture.shape[0] for picture in row), width, 3), 255, dtype=np.uint8)
    left = 0
    for picture in row:
        whole_HWC[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GAP
    return whole_HWC
