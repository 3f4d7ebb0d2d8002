"""Read frames and labels for the page, in the form in which it draws them.

Pixels are read by the project's own store, which checks every chunk. Labels are always those of level 0: level 1 holds
them scaled to 8 bits, without the numbers. They are sent as runs of pixels, a fiftieth of their bytes.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from celltraces.curate.scan import file_stamp
from celltraces.errors import UserError
from celltraces.storage import display_level
from celltraces.storage.codecs import ARRAY_FILE
from celltraces.storage.frames import Frames, open_frames

MOST_BYTES = 32 << 20  # of decoded frames kept
MOST_OPEN = 64  # arrays whose index is kept
LARGE = 8 << 20  # bytes of a frame from which on only one is in memory at a time
RUN_ROWS = 512  # rows of labels that are looked at together


class Reader:
    """Reads frames of arrays, and keeps the last of them. May be used by several threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._open: OrderedDict[Path, tuple[str, Frames]] = OrderedDict()
        self._images: OrderedDict[tuple[Path, str, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._large = threading.Lock()

    @contextmanager
    def reading(self, path: Path, frame: int) -> Iterator[np.ndarray]:
        """A frame (H, W) of an array, as `read`, for as long as it is looked at: of large ones one at a time."""
        frames = self.frames(path)
        large = math.prod(frames.shape[1:]) * frames.dtype.itemsize >= LARGE
        with self._large if large else nullcontext():
            if large:
                self._forget_images()
            yield self.read(path, frame)

    def _forget_images(self) -> None:
        with self._lock:
            self._images.clear()
            self._bytes = 0

    def frames(self, path: Path) -> Frames:
        """An array as it is now: opened anew where a run replaced it. Raises UserError if absent or damaged."""
        return self._frames(path)[1]

    def _frames(self, path: Path) -> tuple[str, Frames]:
        now = file_stamp(path / ARRAY_FILE)
        with self._lock:
            known = self._open.get(path)
            if known and known[0] == now:
                self._open.move_to_end(path)
                return known
        opened = now, open_frames(path)
        with self._lock:
            self._open[path] = opened
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return opened

    def read(self, path: Path, frame: int) -> np.ndarray:
        """A frame (H, W) of an array. Raises UserError for one that is damaged, absent or beyond the last."""
        for last_try in (False, True):
            now, frames = self._frames(path)
            if not 0 <= frame < frames.shape[0]:
                raise UserError(f"{path}: there is no frame {frame}; it has frames 0 to {frames.shape[0] - 1}")
            key = path, now, frame
            with self._lock:
                if key in self._images:
                    self._images.move_to_end(key)
                    return self._images[key]
            try:
                image = frames.read(frame)
                break
            except (UserError, OSError, ValueError) as error:
                # A run may have replaced the array between the look at its index and this reading.
                if last_try or file_stamp(path / ARRAY_FILE) == now:
                    if isinstance(error, UserError):
                        raise
                    raise UserError(f"{path}, frame {frame}: cannot be read; run the workflow again") from None
        self._keep(key, image)
        return image

    def _keep(self, key: tuple[Path, str, int], image: np.ndarray) -> None:
        with self._lock:
            if key in self._images or image.nbytes > self._most_bytes:
                return
            self._images[key] = image
            self._bytes += image.nbytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._images.popitem(last=False)[1].nbytes

    @property
    def kept_bytes(self) -> int:
        """Bytes of all frames that are kept."""
        return self._bytes


def as_counts(image: np.ndarray) -> np.ndarray:
    """Pixels (H, W) as the page takes them: uint8 as they are, all others as uint16, rounded and clipped."""
    if image.dtype in (np.uint8, np.uint16):
        return image
    return np.clip(np.rint(np.nan_to_num(image)), 0, 65535).astype(np.uint16)


def halved(image: np.ndarray, times: int) -> np.ndarray:
    """Pixels (H, W) at half the size so many times, for levels that are not on the disk; none for 0 or less."""
    for _ in range(min(times, 30)):
        image = display_level.half(image)
    return image


def label_runs(labels: np.ndarray) -> np.ndarray:
    """Labels (H, W) as runs of equal pixels in a row, background left out: (3, n) uint32 of start, end and label.

    start and end (half-open) count pixels of the flattened frame; no run goes on in the next row.
    """
    parts = [_runs_of(labels[row : row + RUN_ROWS], row) for row in range(0, labels.shape[0], RUN_ROWS)]
    return np.concatenate([np.zeros((3, 0), "<u4"), *parts], axis=1)


def _runs_of(rows: np.ndarray, row: int) -> np.ndarray:
    """The runs of some rows of labels, the first of which is `row`."""
    flat = rows.ravel()
    if not flat.size:
        return np.zeros((3, 0), "<u4")
    begins = np.empty(flat.size, bool)
    begins[0] = True
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[:: rows.shape[1]] = True
    starts = np.flatnonzero(begins).astype("<u4")
    labels = flat[starts]
    cells = np.flatnonzero(labels)
    before = row * rows.shape[1]
    found = np.empty((3, len(cells)), "<u4")
    found[0] = starts[cells] + np.uint32(before)
    found[1] = np.append(starts[1:], np.uint32(flat.size))[cells] + np.uint32(before)
    found[2] = labels[cells]
    return found
