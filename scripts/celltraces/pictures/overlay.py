"""Draw the frames of a movie of one FOV: phase contrast, fluorescence over it, outlines and numbers of cells."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from celltraces.pictures import draw, movie
from celltraces.storage import display_level
from celltraces.storage.frames import Frames

SAMPLED = 9  # frames from which grey levels and the width of a cell are found
FL_LEVELS = (80.0, 99.9)  # percentiles: most of a fluorescence frame is background, and stays black
GREYS = 24  # of a GIF: more cost bytes and show noise
SMALLEST_NUMBER, LARGEST_NUMBER = 9, 13  # px: height of the cells' numbers
BROAD = 16  # px: cells at least as wide get an outline of two pixels


def write_cell_movie(
    pc: Frames,
    tracked: Frames,
    light: Sequence[Frames],
    kept: Sequence[int],
    letters: Mapping[int, str],
    legend: Sequence[str],
    output: Path,
    *,
    times_min: Sequence[float],
    pixel_size_um: float | None,
    movie_width: int,
    movie_speed: int,
) -> None:
    """Write the movie of one FOV; pc, tracked and light are (T, H, W) arrays, `kept` the cells that are in the tables.

    letters: of the other cells, why they are not; legend: lines that say what the letters mean.
    light: nothing, or a fluorescence channel and its background.
    """
    n_frames, height, width = pc.shape
    shape = draw.picture_shape(height, width, movie_width)
    greys = draw.grey_levels(map(pc.read, _sample_frames(pc)))
    if light:
        greens = draw.grey_levels(
            (_light_above_background(light, frame) for frame in _sample_frames(light[0])), *FL_LEVELS
        )
    hues = dict(zip(kept, draw.cell_colours(kept).tolist(), strict=True))
    bar = draw.scale_bar(pixel_size_um and pixel_size_um * width / shape[1], shape[1])
    cell_width = _cell_width(draw.resize_labels(tracked.read(frame), shape) for frame in _sample_frames(tracked))
    outline = 2 if cell_width >= BROAD else 1
    size = int(np.clip(cell_width / 2, SMALLEST_NUMBER, LARGEST_NUMBER))
    with movie.writing_movie(output, shape, movie_speed, palette(bool(light))) as append:
        for frame in range(n_frames):
            picture = draw.grey_picture(display_level.to_bytes(draw.resize(pc.read(frame), shape), *greys))
            if light:
                draw.lay_over(
                    picture, display_level.to_bytes(draw.resize(_light_above_background(light, frame), shape), *greens)
                )
            labels = draw.resize_labels(tracked.read(frame), shape)
            draw.draw_outlines(picture, labels, draw.colour_table(int(labels.max(initial=0)), hues), outline)
            texts = [
                *draw.numbers(labels, hues, size, letters),
                *draw.notes(picture, legend),
                *draw.stamps(picture, draw.hours_and_minutes(times_min[frame]), bar),
            ]
            if not pc.present(frame):
                texts.append(draw.Text("not in the file", shape[1] / 2, shape[0] / 2, LARGEST_NUMBER))
            draw.draw_texts(picture, texts)
            append(picture)


def _sample_frames(frames: Frames) -> list[int]:
    """Some frames spread over the movie, for what has to be the same in all frames: no flicker, and a short pass."""
    present = [frame for frame in range(frames.shape[0]) if frames.present(frame)]
    return sorted({present[at * (len(present) - 1) // (SAMPLED - 1)] for at in range(SAMPLED) if present})


def _light_above_background(light: Sequence[Frames], frame: int) -> np.ndarray:
    """Fluorescence above the background in one frame, (H, W) uint16; 0 where it is below."""
    fl, background = (layer.read(frame) for layer in light)
    return np.clip(fl - background, 0, 65535).astype(np.uint16)


def _cell_width(frames: Iterable[np.ndarray]) -> float:
    """Width of a typical cell in pixels, from some frames of labels."""
    areas = [np.bincount(labels.ravel())[1:] for labels in frames]
    areas = np.concatenate([found[found > 0] for found in areas] or [[]])
    return float(np.sqrt(np.median(areas))) if areas.size else 0


def palette(green: bool) -> np.ndarray:
    """The (N, 3) colours of a GIF: greys, the cells' colours and their mixtures with the rim of numbers, light."""
    ramp = np.linspace(0, 255, GREYS).round()
    greys = np.repeat(ramp[:, None], 3, axis=1)
    hues = draw.cell_colours(np.arange(draw.N_HUES))
    colours = [greys, *(hues * share for share in (1, 0.67, 0.33)), [draw.OTHER]]
    if green:
        levels = np.linspace(0, 255, 11).round()
        colours.append([(grey, light, grey) for grey in levels for light in levels if light > grey])
    return np.concatenate(colours).round().astype(np.uint8)
