"""Write the demonstration: one simulated experiment as demo.nd2 and as demo.czi, and its truth as truth.csv.

Usage: python scripts/demo/make_demo.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from celltraces.files import whole
from demo.czi_writer import write_czi
from demo.nd2_writer import Channel, write_nd2
from demo.simulate import CHANNELS, DEMO_VIGNETTING, Experiment, simulate, write_truth

COLOURS = ((255, 255, 255), (0, 255, 0), (255, 0, 0))
WAVELENGTHS = ((0.0, 0.0), (488.0, 525.0), (561.0, 610.0))


def write_experiment(folder: Path, experiment: Experiment, name: str) -> None:
    """Write {name}.nd2 and {name}.czi with the same pixels, times and pixel size."""
    size = {"n_fovs": experiment.n_fovs, "n_frames": experiment.n_frames}
    channels = [Channel(channel, rgb, *nm) for channel, rgb, nm in zip(CHANNELS, COLOURS, WAVELENGTHS, strict=True)]
    with whole(folder / f"{name}.nd2") as path:
        write_nd2(
            path,
            experiment.plane,
            **size,
            height=experiment.height,
            width=experiment.width,
            channels=channels,
            period_ms=experiment.period_min * 60_000,
            times_ms=lambda fov, frame: experiment.time_s(fov, frame) * 1000,
        )
    with whole(folder / f"{name}.czi") as path:
        write_czi(
            path,
            experiment.plane,
            **size,
            width=experiment.width,
            channels=CHANNELS,
            interval_s=experiment.period_min * 60,
            times_s=experiment.time_s,
        )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    experiment = simulate(vignetting=DEMO_VIGNETTING)
    write_experiment(folder, experiment, "demo")
    write_truth(folder / "truth.csv", experiment)
    print(f"{folder}/demo.nd2, demo.czi: {experiment.n_fovs} FOVs x {experiment.n_frames} frames; truth in truth.csv")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
