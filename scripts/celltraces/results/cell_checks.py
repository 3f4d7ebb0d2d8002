"""Check cells against frames: the order of frames, light beside the cells, light that is cut off."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from celltraces.frames import cut_off, hot_pixels
from celltraces.results import channel_shift, cut_cells, frame_order, light_in_time, light_of_fovs, light_on_cells
from celltraces.results.light_by_cell import LightByCell
from celltraces.results.light_of_fovs import FovLight
from celltraces.results.quality import Finding, Findings
from celltraces.storage.cells import Get
from celltraces.storage.frames import Frames


def check_order(fov: int, bboxes: np.ndarray, present: np.ndarray) -> Findings:
    """Frames that stand in each other's place (value: the other one); boxes and presence of cells by frame."""
    for first, second, _ in frame_order.exchanged_by_place(bboxes, present):
        yield Finding(fov, first, "frame_order", second)


def check_cut_cells(
    fov: int,
    frames: Frames,
    get: Get,
    pc: int,
    wanted: Collection[int],
    *,
    qc_saturation: float,
    qc_cell_saturation: float,
) -> Findings:
    """Frames in which light of a cell is cut off, though it is too small a share of the frame to be told by that.

    get: reads cells.zarr; wanted: the cells that are in the tables. Value: the largest share of a cell's pixels.
    """
    pieces = frames.attributes.get(cut_off.ATTRIBUTE, ())
    if not pieces:
        return
    of_frames = frames.attributes["frame_statistics"]["at_highest"]
    pieces = [piece for piece in pieces if of_frames[piece[0]] <= qc_saturation]
    for frame, share in sorted(cut_cells.cut_shares(get, pc, pieces, wanted).items()):
        if share > qc_cell_saturation:
            yield Finding(fov, frame, f"saturated_cell_{frames.path.parent.name}", share, qc_cell_saturation)


def check_hot_pixels(
    fov: int, frames: Frames, bboxes: np.ndarray, traces: LightByCell, *, qc_hot_pixel: float
) -> Findings:
    """Hot pixels in cells; value: what the brightest of them adds to the usual light of a cell, as a share of that.

    bboxes: (N, T, 4) of the cells in the tables, 0 where absent. traces: with a total of the channel.
    """
    hot = frames.attributes.get(hot_pixels.ATTRIBUTE, ())
    if not hot or not bboxes.size:
        return
    name = frames.path.parent.name
    by_frame = traces.light.get(f"intensity_total_{name.removeprefix('fl_')}", {})
    totals = [abs(value) for by_cell in by_frame.values() for value in by_cell.values()]
    usual = float(np.median(totals)) if totals else 0.0
    if usual <= 0:
        return
    y0, x0, y1, x1 = (bboxes[..., at] for at in range(4))
    for y, x, above in sorted(hot, key=lambda one: -one[2]):
        if above <= qc_hot_pixel * usual:
            return
        if ((y0 <= y) & (y < y1) & (x0 <= x) & (x < x1)).any():
            yield Finding(fov, None, f"hot_pixels_{name}", above / usual, qc_hot_pixel)
            return


def check_channel_shift(
    name: str,
    labeled: Mapping[int, Frames],
    light: Mapping[int, Frames],
    backgrounds: Mapping[int, Frames],
    *,
    qc_channel_shift: float,
) -> Findings:
    """A channel whose light lies beside the cells, from a frame on or in all of them (one row, for the first FOV)."""
    found = channel_shift.beside(channel_shift.shifts(labeled, light, backgrounds), qc_channel_shift)
    if found is not None:
        frame = None if found.frame < 0 else found.frame
        yield Finding(found.fov, frame, f"channel_shift_{name}", found.size, qc_channel_shift)


def look_at_light(
    fov: int, channels: Mapping[str, light_on_cells.Channel], *, qc_blur: float, qc_odd_part: float
) -> tuple[list[Finding], dict[str, FovLight]]:
    """Light of other frames' cells, and light that is out of focus; by channel what all frames show of the FOV.

    From a frame on (value: how many frames later the cells are that it is on), two frames in each other's place (value:
    the other one); frames in which, or from which on, more light lies beside the cells (value: how much more); in which
    a part of what lies between the cells changes (value: its share of the picture).
    """
    found: list[Finding] = []
    whole: dict[str, FovLight] = {}
    for name, seen in light_on_cells.sights(channels).items():
        found += _of_frames(fov, name, channels[name], seen, qc_blur, qc_odd_part)
        whole[name] = light_of_fovs.of_fov(seen)
    return found, whole


def check_light_of_fovs(name: str, fovs: Mapping[int, FovLight], *, qc_blur: float) -> Findings:
    """FOVs of a channel out of focus (value: how much more light is beside cells than in other FOVs); FOVs whose light
    is on the cells of another FOV (value: which); light that is turned or mirrored (value: degrees against the clock;
    one row where that is so in all FOVs that tell)."""
    for fov, more in light_of_fovs.blurred_fovs(fovs, qc_blur):
        yield Finding(fov, None, f"blurred_{name}", more, qc_blur)
    for fov, other in light_of_fovs.on_cells_of_others(fovs):
        yield Finding(fov, None, f"light_of_fov_{name}", other)
    turned = light_of_fovs.turned(fovs)
    rows = list(turned.items())
    for fov, (mirrored, degrees) in rows[:1] if len(set(turned.values())) == 1 else rows:
        if mirrored:
            yield Finding(fov, None, f"mirrored_{name}", degrees)
        else:
            yield Finding(fov, None, f"turned_{name}", degrees)


def _of_frames(
    fov: int,
    name: str,
    channel: light_on_cells.Channel,
    seen: list[light_on_cells.Sight | None],
    qc_blur: float,
    qc_odd_part: float,
) -> Findings:
    """What the frames of a channel of a FOV tell, see look_at_light."""
    lags = light_in_time.lags_of(seen)
    found = [Finding(fov, frame, f"light_late_{name}", lag) for frame, lag in light_in_time.late(seen, lags)]
    if not any(lags):
        pairs = list(light_in_time.near_exchanged(channel, seen))
        near = {frame for pair in pairs for frame in pair}
        pairs += (pair for pair in light_in_time.exchanged_by_light(channel, seen) if not near & {*pair})
    else:
        pairs = list(light_in_time.exchanged_by_light(channel, seen, lags))
    found += (Finding(fov, frame, f"light_order_{name}", other) for frame, other in pairs)
    told = {row.frame for row in found} | {other for _, other in pairs}
    for frame, more in light_in_time.blurred_frames(seen, qc_blur):
        if frame not in told:  # light that is elsewhere lies beside cells
            found.append(Finding(fov, frame, f"blurred_{name}", more, qc_blur))
    yield from found
    told |= {row.frame for row in found}
    for frame, share in light_in_time.odd_backgrounds(seen, qc_odd_part):
        if not {frame, frame - 1} & told:
            yield Finding(fov, frame, f"odd_part_{name}", share, qc_odd_part)
