"""Stage 4, background: what each fluorescence frame would look like without cells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyama import background, job, store


def estimate_movie(
    source: Path, labeled: Path | None, output: Path, *, tile_size: int, background_dilation: int
) -> list[int]:
    """Estimate the background of every frame of one channel, (T, H, W) float32.

    `labeled` holds the cells to leave out, None where there is no phase-contrast channel. A frame without any
    background to see (or that the file did not hold) takes the estimate of the frame before, or of the first one
    after it that has any; returns these frames.
    """
    frames = store.open_frames(source)
    labels = store.open_frames(labeled) if labeled else None
    borrowed: list[int] = []
    latest: np.ndarray | None = None
    waiting = 0  # frames at the start that have no estimate yet
    with store.writing(output, frames.shape, np.float32, store.SMOOTH) as append:
        for frame in range(frames.shape[0]):
            estimate = None
            if frames.present(frame):
                foreground = labels.read(frame) > 0 if labels else None
                estimate = background.estimate_background(
                    frames.read(frame), foreground, tile_size=tile_size, background_dilation=background_dilation
                )
            if estimate is None:
                borrowed.append(frame)
                if latest is None:
                    waiting += 1
                    continue
            else:
                for _ in range(waiting):
                    append(estimate)
                waiting, latest = 0, estimate
            append(latest)
        if waiting:
            # Cells everywhere in all frames: the darkest parts are the best guess, and the log says so.
            job.log.warning("%s: no frame shows background; taken from the darkest parts", source.parent.name)
            for frame in range(waiting):
                append(
                    background.estimate_background(frames.read(frame), None, tile_size=tile_size, background_dilation=0)
                )
    return borrowed


def main(
    sources: Sequence[str], labeled: Sequence[str], outputs: Sequence[str], tile_size: int, background_dilation: int
) -> None:
    labels = Path(labeled[0]) if labeled else None
    for source, output in zip(map(Path, sources), map(Path, outputs), strict=True):
        borrowed = estimate_movie(source, labels, output, tile_size=tile_size, background_dilation=background_dilation)
        job.log.info("%s: done", source.parent.name)
        if borrowed:
            job.log.warning("%s: frames %s took a neighbouring frame's estimate", source.parent.name, borrowed)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.fl, snakemake.input.labeled, snakemake.output.background, **settings)
