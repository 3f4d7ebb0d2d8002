"""What a hand-written part saves against the library in its place: the figures of docs/libraries.md.

Usage: python benchmarks/libraries.py     (three minutes)

Prints CPU seconds, or milliseconds per frame, medians of several runs taken in turn. Compare those of one run only.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in a job; idle threads would count

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

import plain

import copy_frames
from celltraces.readers import czi_file, movie_file, nd2_internals
from celltraces.runs import job
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing
from demo import czi_writer, nd2_writer
from demo.simulate import simulate

SIZE = {"n_fovs": 1, "n_frames": 60}
REPEATS = 3


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(
        of.ru_utime + of.ru_stime for of in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def in_turn(ways: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """CPU seconds of each way, the median of several runs, all ways once in each round."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            before = cpu()
            way()
            spent[name].append(cpu() - before)
    return {name: statistics.median(times) for name, times in spent.items()}


def say(what: str, seconds: Mapping[str, float], n: int = 0) -> None:
    shown = (f"{name} {1000 * s / n:.2f} ms" if n else f"{name} {s:.2f} s" for name, s in seconds.items())
    print(f"{what}: {', '.join(shown)}", flush=True)


def czi(folder: Path, planes: np.ndarray) -> None:
    """Copying a FOV from a CZI whose planes are uncompressed, and zstd, with each way to read them."""
    read_directly, library_for = czi_file.read_czi_plane, czi_file.czi_library

    path = folder / "a.czi"

    def copy(library: str | None) -> None:
        if library:
            czi_file.read_czi_plane = lambda *_: None
            czi_file.czi_library = lambda _: library
        try:
            outputs = [folder / f"copied/{channel}" for channel in range(3)]
            copy_frames.copy_frames(
                path, outputs, fov=0, channels=range(3), shape=(60, *planes.shape[2:]), planes=[None]
            )
        finally:
            czi_file.read_czi_plane, czi_file.czi_library = read_directly, library_for

    for compress in (False, True):
        czi_writer.write_czi(
            path, lambda f, t, c, z: planes[t % 10, c], **SIZE, width=1024, channels=["a", "b", "c"], compress=compress
        )
        ways: dict[str, Callable[[], object]] = {} if compress else {"read here": lambda: copy(None)}
        for library in ("aicspylibczi", "pylibCZIrw"):
            ways[library] = lambda library=library: copy(library)
        say(f"copy of 180 {'zstd' if compress else 'uncompressed'} planes of a CZI", in_turn(ways))


def nd2(folder: Path, planes: np.ndarray) -> None:
    import nd2

    path = folder / "a.nd2"
    nd2_writer.write_nd2(
        path,
        lambda f, t, c, z: planes[t % 10, c],
        **SIZE,
        height=1024,
        width=1024,
        channels=[nd2_writer.Channel(name) for name in "abc"],
    )

    def ours() -> None:
        with movie_file.open_movie(path) as read:
            for frame in range(60):
                read(0, frame, [0, 1, 2], None)

    def theirs() -> None:
        with nd2.ND2File(path) as file:
            for frame in range(60):
                np.ascontiguousarray(file.read_frame(frame))

    say(f"a frame of an ND2 (nd2 {nd2_internals.TRIED[-1]})", in_turn({"ours": ours, "nd2": theirs}), 60)


def zarr(folder: Path, planes: np.ndarray) -> None:
    light = np.ascontiguousarray(planes[:, 1])
    import zarr

    def write() -> None:
        with writing(folder / "ours", light.shape, light.dtype, PIXELS) as append:
            for image in light:
                append(image)

    def read(path: Path) -> None:
        frames = open_frames(path)
        for frame in range(len(light)):
            frames.read(frame)

    def read_theirs(path: Path) -> None:
        array = zarr.open_array(path, mode="r")
        for frame in range(len(light)):
            array[frame]

    say(
        "writing a frame with the same codec",
        in_turn({"ours": write, "zarr-python": lambda: plain.copy(light, folder / "theirs")}),
        10,
    )
    ways = {"ours": lambda: read(folder / "ours"), "zarr-python": lambda: read_theirs(folder / "ours")}
    say("reading a frame of our shard", in_turn(ways), 10)


def starts() -> None:
    """What importing costs, and what ending a job as every Python program does."""

    def start(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], cwd=ROOT / "scripts", check=True)

    for name in ("zarr", "numcodecs", "scipy.optimize", "nd2", "aicspylibczi", "pylibCZIrw.czi", "skimage.measure"):
        spent = in_turn({"with": start(f"import numpy, {name}"), "without": start("import numpy")})
        print(f"import {name}: {spent['with'] - spent['without']:.2f} s", flush=True)
    for script in (
        "index_images",
        "segment_cells, celltraces.segmentation.logstd",
        "estimate_background, scipy.linalg.lapack",
        "crop_cells",
    ):
        code = f"import snakemake.iocontainers, snakemake.logging, {script}"
        spent = in_turn({"ordinary": start(code), "at once": start(f"{code}, os; os._exit(0)")})
        say(f"start and end of {script.partition(',')[0]}", spent)


def main() -> None:
    job.limit_threads(1)
    job.keep_memory()
    experiment = simulate(n_fovs=1, n_frames=10, height=1024, width=1024, n_cells=40)
    planes = np.array([[experiment.plane(0, t, c) for c in range(3)] for t in range(10)])
    print(time.strftime("%Y-%m-%d"), f"{os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        starts()
        zarr(Path(folder), planes)
        nd2(Path(folder), planes)
        czi(Path(folder), planes)


if __name__ == "__main__":
    main()
