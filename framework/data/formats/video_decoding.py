"""Single frames of video files (MP4, AVI, WebM and others), decoded by PyAV."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import DataError, DataProblem

ENDINGS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
"""Endings of files that are taken for videos, in lower or upper case."""
EXTRA = "slotlab[video]"
"""What installs PyAV."""
_KEPT_BYTES = 1 << 28
_LEFT_OPEN: list[Any] = []
"""Decoders of the process that this one was forked from."""


class FrameReader:
    """Reads frames of videos by their numbers, counted from 0 in the order in which they are shown.

    A frame is found by decoding all before it, so that it never depends on how a file can be searched. The
    decoder waits where it stopped, and the last frames are kept, up to 256 MiB, so that reading in the order
    of time decodes each frame once. A copy that is sent to another process starts empty.
    """

    def __init__(self, kept_bytes: int = _KEPT_BYTES):
        self._most, self._bytes = kept_bytes, 0
        self._kept: OrderedDict[tuple[Path, int], NDArray[np.uint8]] = OrderedDict()
        self._path: Path | None = None
        self._next, self._process = 0, os.getpid()
        self._frames: Iterator[NDArray[np.uint8]] = iter(())

    def read(self, path: Path, index: int) -> NDArray[np.uint8]:
        """Return a frame, uint8 (3, H, W).

        Raises:
            DataError: if the file is damaged, or ends before.
        """
        if self._process != os.getpid():  # after a fork the decoder is another process's: closing it may hang
            _LEFT_OPEN.append(self._frames)
            self._clear()
        found = self._kept.get((path, index))
        if found is not None:
            self._kept.move_to_end((path, index))
            return found
        if path != self._path or index < self._next:
            self._path, self._next, self._frames = path, 0, _decode(path)
        while True:
            try:
                frame_CHW = next(self._frames)
            except (StopIteration, DataError) as error:
                count, self._path = self._next, None
                if isinstance(error, DataError):
                    raise
                text = f"ends after {count} frames; frame {index}, counted from 0, is missing"
                raise DataError(DataProblem(str(path), text)) from None
            self._keep((path, self._next), frame_CHW)
            self._next += 1
            if self._next > index:
                return frame_CHW

    def _keep(self, key: tuple[Path, int], frame_CHW: NDArray[np.uint8]) -> None:
        self._kept[key] = frame_CHW
        self._bytes += frame_CHW.nbytes
        while self._bytes > self._most and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def _clear(self) -> None:
        self._kept.clear()
        self._bytes, self._next, self._path, self._process = 0, 0, None, os.getpid()
        self._frames = iter(())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._most,)


def count_frames(path: Path) -> int:
    """Return how many frames a video has: as its header says, else by decoding all.

    Raises:
        DataError: if it cannot be read, or is no video.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(DataProblem(str(path), "holds no video that can be decoded"))
            told = int(container.streams.video[0].frames)
        return told or sum(1 for _ in _decode(path))
    except (av.FFmpegError, OSError) as error:
        raise DataError(DataProblem(str(path), _reason(error))) from error


def _decode(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video, uint8 (3, H, W).

    Raises:
        DataError: if the file is damaged.
    """
    import av

    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(DataProblem(str(path), "holds no video that can be decoded"))
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # threads would not survive a fork
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise DataError(DataProblem(str(path), f"frame {count}, counted from 0, is damaged"))
                image_HWC = frame.to_ndarray(format="rgb24")
                yield np.ascontiguousarray(image_HWC.transpose(2, 0, 1))
                count += 1
    except (av.FFmpegError, OSError) as error:
        where = f" after {count} frames" if count else ""
        raise DataError(DataProblem(str(path), f"{_reason(error)}{where}")) from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return f"cannot be decoded: {getattr(error, 'strerror', None) or error}"
