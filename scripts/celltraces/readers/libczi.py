"""Read CZI planes through a library (aicspylibczi or pylibCZIrw) in a child process, one plane at a time.

Some damaged files end the process that decodes them (a division by zero in JPEG XR, memory that was never asked for).
So that is a child, and its end one error that names the plane.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from celltraces.readers import child_process

log = logging.getLogger("celltraces")

SECONDS = 300  # for one plane
MEGABYTES = 8000  # a mosaic of 30,000 x 30,000 pixels, twice

PIXELS = {"Gray8": np.uint8, "Gray16": np.uint16}

Read = Callable[..., np.ndarray]


class LibCzi:
    """A file as `library`, one of LIBRARIES, reads it; the child starts at the first plane that is asked for."""

    def __init__(self, path: Path, library: str) -> None:
        self._path = path
        self._library = library
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def read(self, box: tuple[int, int, int, int], dtype: np.dtype, **where: Any) -> np.ndarray:
        """Return the pixels (height, width) of the box (x, y, width, height); `where`: see `_serve`.

        Raises ValueError with what the library said or what became of the child.
        """
        if self._child is None:
            log.info("%s reads the planes of %s", self._library, self._path.name)
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            command = [sys.executable, "-m", "celltraces.readers.libczi", self._library, str(self._path)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
            self._child = subprocess.Popen(command, env=child_process.environment(), **pipes)
        child = self._child
        shape = (box[3], box[2])
        pixels = np.empty(shape, dtype)
        late = threading.Event()
        timer = threading.Timer(SECONDS, lambda: (late.set(), child.kill()))
        timer.start()
        answer, whole = None, False
        try:
            with suppress(OSError):
                child.stdin.write(json.dumps({"roi": box, **where}).encode() + b"\n")
                child.stdin.flush()
                answer = json.loads(child.stdout.readline() or "null")
                whole = answer is not None and (
                    "error" in answer or child.stdout.readinto(pixels.data.cast("B")) == pixels.nbytes
                )
            if not whole:
                child.wait()  # the timer ends a child that cannot end
        finally:
            timer.cancel()
        if not whole:
            self._errors.seek(0)
            errors = self._errors.read().decode(errors="replace")
            self.close()
            raise ValueError(
                f"it took more than {SECONDS:g} s"
                if late.is_set()
                else child_process.ended(child.returncode, errors, MEGABYTES)
            )
        if "error" in answer:
            raise ValueError(answer["error"])
        return pixels

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for file in (self._child.stdin, self._child.stdout, self._errors):
                file.close()
            self._child = None


@contextmanager
def _aicspylibczi(path: str) -> Iterator[Read]:
    from aicspylibczi import CziFile

    file = CziFile(path)
    letters = set(file.dims)  # no other dimension may be named

    def read(roi: list[int], plane: dict[str, int], scene: int | None, **_: Any) -> np.ndarray:
        # With every dimension named, a plane that is not there is an error. Otherwise the next one takes its place.
        where = {letter: at for letter, at in {**plane, "S": scene}.items() if letter in letters and at is not None}
        pixels, _ = file.read_image(**where, cores=1)
        return pixels.reshape(pixels.shape[-2:]) if pixels.size == roi[2] * roi[3] else pixels

    yield read


@contextmanager
def _pylibczirw(path: str) -> Iterator[Read]:
    from pylibCZIrw import czi

    with czi.open_czi(path) as document:
        yield lambda **where: document.read(**where)[..., 0]


LIBRARIES = {"aicspylibczi": _aicspylibczi, "pylibCZIrw": _pylibczirw}


def _serve(library: str, path: str, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer each line of JSON with a line of JSON and, unless it has an error, the pixels.

    A request: `roi` [x, y, width, height]; `plane`, the indices T, C, Z; `scene`, or null where the file has none;
    `pixel_type`, Gray8 or Gray16.
    """
    with LIBRARIES[library](path) as read:
        for line in requests:
            where = json.loads(line)
            try:
                pixels = read(**where)
                if pixels.shape != (where["roi"][3], where["roi"][2]):
                    raise ValueError(f"{pixels.shape} pixels came back")
                if "pixel_type" in where and pixels.dtype != PIXELS[where["pixel_type"]]:
                    raise ValueError(f"{pixels.dtype} pixels came back")
            except Exception as error:
                answers.write(
                    json.dumps({"error": " ".join(str(error).split()) or type(error).__name__}).encode() + b"\n"
                )
            else:
                answers.write(b"{}\n")
                answers.write(np.ascontiguousarray(pixels).data.cast("B"))
            answers.flush()


if __name__ == "__main__":
    child_process.bound_memory(MEGABYTES)
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    _serve(sys.argv[1], sys.argv[2], sys.stdin.buffer, pipe)
