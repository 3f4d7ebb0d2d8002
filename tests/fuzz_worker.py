"""A process that reads damaged files and says, one line of JSON each, what came of it.

Usage: PYTHONPATH=scripts python tests/fuzz_worker.py FOLDER NAME FIRST LAST    (NAME: see mutants.FILES, or a path)

The process may be killed by what it reads: who started it sees from the last line which file that was.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import mutants_once
from mutants import FILES, Mutant, mutant, real_file

from celltraces.errors import UserError
from celltraces.readers.movie_file import inspect_movie, open_movie

SECONDS = 20  # for one file; a hang ends the process
MEGABYTES = 1000  # beyond what the process needs with its imports
Reading = dict[str, Any]


def read_everything(path: Path) -> Reading:
    """What planning and copying learn from a file: all but the pixels, a checksum of every plane, and what is refused.

    A plane is a checksum, "missing", or "refused"; a whole file is `refused` with the reason.
    """
    try:
        movie = inspect_movie(path)
        values = {"times": [fov["times_min"] for fov in movie.fovs], "period": movie.period_min}
        values |= {"names": [fov["name"] for fov in movie.fovs], "channels": movie.channels}
        values["pixel size"] = movie.pixel_size_um
        planes: dict[tuple[int, ...], Any] = {}
        n_planes = len(movie.fovs) * movie.n_frames * len(movie.channels) * movie.n_z
        if n_planes > 2000:
            return {"planes": {}, "values": values, "many": n_planes, "reasons": []}
        announced = {(fov, *pair) for fov, place in enumerate(movie.fovs) for pair in place["missing"]}
        reasons = []
        with open_movie(path) as read:
            for fov in range(len(movie.fovs)):
                for frame in range(movie.n_frames):
                    for z in range(movie.n_z):
                        for channel in range(len(movie.channels)):
                            at = (fov, frame, channel, z)
                            try:
                                (image,) = read(fov, frame, [channel], z)
                            except UserError as error:
                                reasons.append(_line(error, path))
                                planes[at] = "refused"
                                continue
                            if image is None:
                                planes[at] = "missing"
                                assert at[:3] in announced or movie.format == "nd2", (
                                    f"{at} is missing but not announced"
                                )
                            else:
                                planes[at] = zlib.crc32(repr(image.shape).encode() + image.tobytes())
        return {"planes": planes, "values": values, "reasons": reasons}
    except UserError as error:
        return {"refused": _line(error, path)}


def _line(error: UserError, path: Path) -> str:
    line = str(error)
    assert "\n" not in line, line
    assert path.name in line, line
    cause: BaseException | None = error
    while cause is not None:
        assert not isinstance(cause, MemoryError), f"asked for more than {MEGABYTES} MB: {line}"
        cause = cause.__cause__
    return line


def first_fov(times: list[list[float] | None]) -> int | None:
    """The FOV from whose first frame on the times of all count."""
    return next((fov for fov, each in enumerate(times) if each and each[0] == 0), None)


def since_first(times: list[float] | None) -> list[float] | None:
    """The times of a FOV, counted from its own first frame."""
    return times and [round(time - times[0], 6) for time in times]


def verdict(intact: Reading, found: Reading, damaged: Mutant) -> str:
    """ "refused", "part refused", "missing", "same", or "silent: ..." for a difference that nobody is told of."""
    if "refused" in found:
        return "refused"
    if "many" in found:
        return "silent: planes without end"
    told = set()
    for at, image in intact["planes"].items():
        new = found["planes"].get(at, "lost")
        if new == image or at in damaged.planes:
            continue
        if new not in ("missing", "refused"):
            return f"silent: plane {at} is {'lost' if new == 'lost' else 'another'}"
        told.add(new)
    for at, image in found["planes"].items():
        if at not in intact["planes"]:
            if image not in ("missing", "refused"):
                return f"silent: plane {at} is made up"
            told.add(image)
    if not damaged.values:
        told_of = {at[0] for at, image in found["planes"].items() if image != intact["planes"].get(at)}
        for key, value in intact["values"].items():
            new = found["values"][key]
            if isinstance(value, list):
                # one per FOV or channel, perhaps with further ones; a FOV that lacks planes may have other times
                pairs = [(a, b) for i, (a, b) in enumerate(zip(value, new, strict=False)) if i not in told_of]
                if key == "times" and first_fov(value) in told_of:
                    # when the first frame of the file was taken cannot be read: times count from the first that can
                    pairs = [(since_first(a), since_first(b)) for a, b in pairs]
            else:
                pairs = [(value, new)]
            if any(a != b for a, b in pairs):
                return f"silent: {key} {value} became {new}"
    return "part refused" if "refused" in told else "missing" if told else "same"


def main(folder: Path, name: str, first: int, last: int) -> None:
    files = {**FILES, **mutants_once.FILES}
    base = files[name](folder) if name in files else real_file(Path(name))
    path = folder / f"damaged{base.suffix}"
    path.write_bytes(base.content)
    intact = read_everything(path)
    assert "refused" not in intact, intact
    limit_memory()
    for seed in range(first, last):
        print(json.dumps({"seed": seed}), flush=True)
        damaged = mutant(base, seed)
        path.write_bytes(damaged.content)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            result = verdict(intact, read_everything(path), damaged)
            once = base.once and not damaged.what.startswith("cut off")
            if (damaged.loops or once) and result.startswith("silent"):
                result = "cannot be known"
        except Exception as error:
            result = f"raised: {type(error).__name__}: {error}"
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"seed": seed, "verdict": result, "what": damaged.what}), flush=True)


def limit_memory() -> None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEGABYTES * 1_000_000, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
