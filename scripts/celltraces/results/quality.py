"""Check the quality of images and results: one row in qc.csv per suspicious frame or FOV."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from celltraces import paths
from celltraces.frames import camera_faults, coverage, exposure, likeness, odd_parts, repeats, stage_movement
from celltraces.labels import left_out
from celltraces.results import flicker, light_checks, overlapping_fovs, time_checks, vignetting
from celltraces.results.light_by_cell import LightByCell
from celltraces.storage.frames import Frames

COLUMNS = ("fov", "frame", "check", "value", "limit")
NEIGHBOURS = 3  # frames before and after, with whose median a frame is compared
MIN_CELLS = 3  # fewer cells than this that come, go or change are no finding
SHARP = 0.7  # of the usual contrast and brightness: a frame with less is out of focus, or dark
PIXELS_UM = (0.01, 50.0)  # um: pixels of light microscopes
LONGEST_MIN = 3 * 24 * 60.0  # minutes from frame to frame: nobody films slower
SHORTEST_MIN = 5e-3 / 60  # minutes from frame to frame: no camera gives whole frames of cells faster
MIN_FRAMES = 3  # fewer frames than this may have the same darkest and brightest value by chance
FULL_RANGE = 255  # the highest number of 8 bits: values up to less are counts of light, the lowest of which may be 0
MIN_SAMPLE = 5  # fewer cells than this say nothing on average


@dataclass(frozen=True)
class Finding:
    """One row of qc.csv; frame None is the whole FOV, a value of None is one that the check does not have."""

    fov: int
    frame: int | None
    check: str
    value: float | None = None
    limit: float | None = None


Findings = Iterator[Finding]


def check_frames(
    fov: int,
    frames: Frames,
    other_fovs: dict[bytes, int] | None = None,
    *,
    qc_saturation: float,
    qc_brightness: float,
    qc_odd_part: float,
    qc_contrast: float | None,
) -> Findings:
    """Frames of one channel that are missing, blank, the same as another, saturated, too dark, too bright or blurred.

    Brightness and contrast are compared with the median of the neighbouring frames; contrast (phase contrast alone:
    None for others) by how far it falls. other_fovs: by fingerprint the FOV that each frame of the channel was seen in,
    to which the frames of this one are added.
    """
    name = frames.path.parent.name
    statistics = _statistics(frames)
    present = np.isfinite(statistics["mean"])
    if not present.all():  # one row, since a channel that was taken in every tenth frame only is nothing unusual
        yield Finding(fov, None, f"missing_{name}", np.count_nonzero(~present), 0)
    yield from check_coverage(fov, frames, present)
    blank = present & (statistics["lowest"] == statistics["highest"])
    for frame in np.flatnonzero(blank).tolist():
        yield Finding(fov, frame, f"blank_{name}", statistics["highest"][frame])
    yield from check_duplicates(fov, frames, np.flatnonzero(present & ~blank).tolist(), other_fovs)
    if qc_contrast is None:
        yield from check_stretched(fov, name, statistics, present & ~blank)
    for frame in np.flatnonzero(~blank & (statistics["at_highest"] > qc_saturation)).tolist():
        yield Finding(fov, frame, f"saturated_{name}", statistics["at_highest"][frame], qc_saturation)
    for frame in np.flatnonzero(statistics.get("wrapped", np.zeros(0)) > 0).tolist():
        yield Finding(fov, frame, f"wrapped_{name}", statistics["wrapped"][frame], 0)
    dead = frames.attributes.get(camera_faults.ATTRIBUTE)
    if dead:
        yield Finding(fov, None, f"dead_lines_{name}", sum(map(len, dead.values())), 0)
    for frame, share in odd_parts.larger_than(frames.attributes, qc_odd_part):
        yield Finding(fov, frame, f"odd_part_{name}", share, qc_odd_part)
    mean = np.where(blank, np.nan, statistics["mean"])
    yield from _far_from_neighbours(fov, f"brightness_{name}", mean, qc_brightness)
    if qc_contrast is not None:
        contrast = np.where(blank, np.nan, statistics["contrast"])
        yield from _far_from_neighbours(fov, f"low_contrast_{name}", contrast, qc_contrast, only_low=True)


def check_stretched(fov: int, name: str, statistics: Mapping[str, np.ndarray], shown: np.ndarray) -> Findings:
    """A channel of which each frame has both 0 and one and the same highest value (value): contrast was enhanced frame
    by frame. shown (T,) bool: the frames that have an image."""
    lowest, highest = (statistics[key][shown] for key in ("lowest", "highest"))
    if len(highest) >= MIN_FRAMES and not lowest.any() and highest.min() == highest.max() >= FULL_RANGE:
        yield Finding(fov, None, f"stretched_{name}", highest[0])


def check_duplicates(
    fov: int, frames: Frames, shown: Sequence[int], other_fovs: dict[bytes, int] | None = None
) -> Findings:
    """Of the frames of one channel that have been `shown` those that are wholly or partly as another image.

    As an earlier frame (value: which); as a frame of another FOV (value: which; one row where all are); as the frame
    before, or another channel, in parts (value: share of the pixels; see repeats.repeated_frames).
    other_fovs: as above.
    """
    name = frames.path.parent.name
    in_others = {} if other_fovs is None else other_fovs
    seen: dict[bytes, int] = {}
    duplicates: list[int] = []
    elsewhere: dict[int | None, int] = {}
    for frame in shown:
        fingerprint = frames.fingerprint(frame)
        same = seen.setdefault(fingerprint, frame)
        if same != frame:
            duplicates.append(frame)
            yield Finding(fov, frame, f"duplicate_{name}", same)
        elif in_others.setdefault(fingerprint, fov) != fov:
            elsewhere[frame] = in_others[fingerprint]
    if len(elsewhere) == len(seen) and len(set(elsewhere.values())) == 1:
        elsewhere = {None: next(iter(elsewhere.values()))}
    for frame, other in elsewhere.items():
        yield Finding(fov, frame, f"duplicate_fov_{name}", other)
    for frame, share in repeats.repeated_frames(frames.attributes, len(shown), duplicates):
        yield Finding(fov, frame, f"repeated_{name}", share, 0)


def check_exposure(fov: int, frames: Frames, qc_exposure: float) -> Findings:
    """Frames of a fluorescence channel from which on everything is brighter or darker by one factor (value)."""
    statistics = _statistics(frames)
    shown = np.flatnonzero(statistics["lowest"] < statistics["highest"])
    levels = (statistics[key][shown] for key in ("low", "floor", "mean"))
    for at, factor in exposure.steps(*levels, qc_exposure):
        yield Finding(fov, int(shown[at]), f"exposure_step_{frames.path.parent.name}", factor, qc_exposure)


def check_place(fov: int, frames: Frames, jumps: Collection[int | None] = ()) -> Findings:
    """Frames from which on a fluorescence channel shows another place, or that lack its light alone.

    jumps: frames at which the stage jumps, which a check of its own reports.
    """
    for frame, value in likeness.where_place_changes(frames.attributes.get(likeness.ATTRIBUTE, ())):
        if frame not in jumps:
            yield Finding(fov, frame, f"other_place_{frames.path.parent.name}", value)


def check_coverage(fov: int, frames: Frames, present: np.ndarray) -> Findings:
    """Share of the pixels that hold no data: the largest of all frames where all lack some, else of each such frame."""
    uncovered = coverage.boxes_by_frame(frames.attributes)
    shares = {
        frame: coverage.area_of(boxes.tolist()) / (frames.shape[1] * frames.shape[2])
        for frame, boxes in uncovered.items()
    }
    check = f"uncovered_{frames.path.parent.name}"
    if shares and len(shares) == np.count_nonzero(present):
        yield Finding(fov, None, check, max(shares.values()), 0)
        return
    for frame, share in shares.items():
        yield Finding(fov, frame, check, share, 0)


def check_stage(fov: int, arrays: Sequence[Frames], *, qc_stage_shift: float) -> Findings:
    """Jumps of the stage, in pixels, other than it drifts; no value: too far to be measured.

    arrays: all channels of the FOV. Without phase contrast several have been looked at: that with most to go by counts.
    A single frame of phase contrast unlike its neighbours shows another place, unless it is out of focus or dark.
    """
    looked_at = [array for array in arrays if stage_movement.ATTRIBUTE in array.attributes]
    movement = stage_movement.best_measured([array.attributes[stage_movement.ATTRIBUTE] for array in looked_at])
    phase = next((array for array in looked_at if paths.is_phase_contrast(array.path.parent.name)), None)
    found = dict(stage_movement.jumps(movement, qc_stage_shift, phase_contrast=phase is not None))
    if phase is not None:
        contrast, mean = (_statistics(phase)[name] for name in ("contrast", "mean"))
        sharp = (contrast > SHARP * _median(contrast)) & (mean > SHARP * _median(mean))
        found |= {frame: None for frame in stage_movement.other_places(movement) if sharp[frame]}
    for frame, size in sorted(found.items()):
        yield Finding(fov, frame, "stage_shift", size, qc_stage_shift)


def check_fovs(arrays: Mapping[int, Frames], *, qc_brightness: float) -> Findings:
    """FOVs that are much darker or brighter than the others in one channel."""
    levels = {fov: _median(_statistics(frames)["mean"]) for fov, frames in arrays.items()}
    usual = _median(np.array(list(levels.values())))
    for fov, level in levels.items():
        if len(levels) > 2 and _differs(level, usual, qc_brightness):
            yield Finding(fov, None, f"brightness_{arrays[fov].path.parent.name}", level / usual, qc_brightness)


def check_phase_contrast(arrays: Mapping[int, Frames]) -> Findings:
    """Phase contrast, by FOV, that is fluorescence (one row, for the first FOV of which the file held a frame).

    A frame of that FOV is read to tell fluorescence from a sheet of dark cells with bright gaps.
    """
    value = light_checks.not_phase_contrast([_statistics(frames) for frames in arrays.values()])
    if value is None:
        return
    first = min(fov for fov, frames in arrays.items() if np.isfinite(_statistics(frames)["mean"]).any())
    if light_checks.has_few_bright(_middle_frame(arrays[first])):
        name = arrays[first].path.parent.name
        yield Finding(first, None, f"not_phase_contrast_{name}", value, light_checks.BRIGHT_ON_DARK)


def _middle_frame(frames: Frames) -> np.ndarray:
    """The pixels that hold data (N,) of the frame in the middle of those that the file held."""
    present = np.flatnonzero(np.isfinite(_statistics(frames)["mean"]))
    frame = int(present[present.size // 2])
    image = frames.read(frame)
    return image[~coverage.mask_of_boxes(coverage.of_frame(frames.attributes, frame), image.shape)]


def check_light(
    arrays: Mapping[int, Frames],
    phase_contrast: Mapping[int, Frames],
    covered: Mapping[int, float],
    *,
    qc_exposure: float,
    qc_light_drift: float,
    offset: float = 0.0,
) -> Findings:
    """A fluorescence channel that is none, or noise alone, or whose background changes gradually (one row, for the
    first FOV); FOVs exposed otherwise (value).

    arrays, phase_contrast: of the channel and of phase contrast, by FOV. covered: share of the field that cells cover.
    """
    first, name = min(arrays), arrays[min(arrays)].path.parent.name
    of_fovs = {fov: _statistics(frames) for fov, frames in arrays.items()}
    with_dead_lines = any(camera_faults.ATTRIBUTE in frames.attributes for frames in arrays.values())
    value = light_checks.not_fluorescence([*of_fovs.values()])
    if value is not None and not with_dead_lines:  # their pixels are the darkest
        others = [_statistics(frames) for frames in phase_contrast.values()]
        if others and light_checks.is_like_fluorescence(others):
            yield Finding(first, None, f"exchanged_{name}", value, light_checks.DARK_STRUCTURE)
        else:
            yield Finding(first, None, f"not_fluorescence_{name}", value, light_checks.DARK_STRUCTURE)
        return
    likeness_of = [frames.attributes.get(likeness.ATTRIBUTE, ()) for frames in arrays.values()]
    alike = light_checks.noise_alone([*of_fovs.values()], likeness_of)
    if alike is not None:
        yield Finding(first, None, f"no_light_{name}", alike, light_checks.UNLIKE)
    change = light_checks.drift(of_fovs, covered, offset)
    if change is not None and max(change, 1 / change) > qc_light_drift:
        yield Finding(first, None, f"light_drift_{name}", change, qc_light_drift)
    for fov, factor in light_checks.exposed_otherwise(of_fovs, covered, qc_exposure, offset):
        yield Finding(fov, None, f"exposure_fov_{name}", factor, qc_exposure)


def check_noise(arrays: Mapping[int, Frames], covered: Mapping[int, float], *, qc_noise: float) -> Findings:
    """FOVs with more or less noise than the others, by a factor (value); arrays: of a channel, by FOV."""
    of_fovs = {fov: _statistics(frames) for fov, frames in arrays.items()}
    for fov, factor in light_checks.noisy(of_fovs, covered, qc_noise):
        yield Finding(fov, None, f"noise_{arrays[fov].path.parent.name}", factor, qc_noise)


def check_vignetting(
    fov: int, name: str, backgrounds: Sequence[Frames], *, qc_vignetting: float, offset: float = 0.0
) -> Findings:
    """A channel without a flat field whose background is darker at the rim than in the middle, by so large a share.

    backgrounds: of all FOVs of the dataset. One row, for the first FOV. offset: the camera's, in counts.
    """
    share = vignetting.rim_darkness(backgrounds, offset)
    if share is not None and share > qc_vignetting:
        yield Finding(fov, None, f"vignetting_{name}", share, qc_vignetting)


def check_flat_field(
    fov: int,
    name: str,
    unexplained: float | None,
    foreign: float | None = None,
    backgrounds: Sequence[Frames] = (),
    *,
    qc_flat_field: float,
    qc_vignetting: float,
    offset: float = 0.0,
) -> Findings:
    """A channel whose estimated flat field leaves places darker by the share `unexplained`; or, where that is None,
    one whose picture shows cells or dust by the share `foreign` that frames do not, or leaves the background uneven by
    more than is allowed without any flat field.

    backgrounds: as corrected, of all FOVs. offset: the camera's, in counts.
    """
    found = [(share, qc_flat_field) for share in (unexplained, foreign)]
    if unexplained is None and backgrounds:
        found.append((vignetting.darkening(backgrounds, offset), qc_vignetting))
    for share, limit in found:
        if share is not None and share > limit:
            yield Finding(fov, None, f"flat_field_{name}", share, limit)
            return


def check_acquisition(
    pairs: Sequence[Sequence[float]], exposures: Sequence[Sequence[float | None]], *, qc_overlap: float
) -> Findings:
    """FOVs that show the place of another one (value: which), by the stage; channels exposed otherwise (value, limit:
    ms here, and in the first FOV or before). pairs: see overlapping_fovs; exposures: FOV, frame, channel, ms, ms."""
    for fov, other in overlapping_fovs.most_overlapping(pairs, qc_overlap).items():
        yield Finding(fov, None, "fov_overlap", other)
    for fov, frame, channel, ms, usual in exposures:
        yield Finding(fov, frame, f"exposure_time_{paths.fl(channel)}", ms, usual)


def check_stacks(arrays: Mapping[int, Frames]) -> Findings:
    """FOVs of which a channel is taken in fewer z planes than in others; the highest value of fewer planes is lower."""
    taken = {fov: len(frames.attributes.get("z_planes", ())) for fov, frames in arrays.items()}
    most = max(taken.values(), default=0)
    for fov, n_planes in taken.items():
        if n_planes < most:
            yield Finding(fov, None, f"z_planes_{arrays[fov].path.parent.name}", n_planes, most)


def check_times(
    fov: int,
    times_min: Sequence[float],
    senseless: Sequence[int],
    qc_interval: float,
    assumed: Sequence[tuple[str, float, float | None]] = (),
) -> Findings:
    """Frames whose stamp in the file is missing or not after the one before; frames after a gap; guessed times.

    times_min: the times that are used; where a stamp is `senseless` these are not from the stamps. One row where no
    frame has a stamp. assumed: see time_checks.assumed.
    """
    if senseless and len(senseless) == len(times_min):
        yield Finding(fov, None, "time_order", len(senseless), 0)
    else:
        for frame in senseless:
            yield Finding(fov, frame, "time_order")
    for check, value, limit in assumed:
        yield Finding(fov, None, check, value, limit)
    interval = float(np.median(np.diff(times_min))) if len(times_min) > 1 else 0.0
    if len(times_min) > 1 and not SHORTEST_MIN <= interval <= LONGEST_MIN:
        yield Finding(fov, None, "time_interval", interval, (SHORTEST_MIN, LONGEST_MIN)[interval > LONGEST_MIN])
    for frame, value in time_checks.gaps(times_min, qc_interval):
        yield Finding(fov, frame, "time_gap", value, qc_interval)


def check_visits(times_min: Mapping[int, Sequence[float]]) -> Findings:
    """FOVs that follow each other faster than a stage moves, as where milliseconds are taken for less; times by FOV."""
    fast = time_checks.too_fast(times_min)
    if fast:
        yield Finding(min(times_min), None, "time_interval", *fast)


def check_speed(
    middles: Mapping[int, np.ndarray],
    times_min: Mapping[int, Sequence[float]],
    pixel_size_um: float | None,
    *,
    qc_slowest: float,
    qc_fastest: float,
) -> Findings:
    """Cells that are slower or faster than cells are (value: um/min): times or pixels are in another unit.

    middles: (N, T, 2) of cells, by FOV, see time_checks.speeds. One row, for the first FOV.
    """
    if not pixel_size_um:
        return
    found = [time_checks.speeds(of, times_min[fov], pixel_size_um) for fov, of in middles.items()]
    known = np.array([pair for pair in found if pair])
    if len(known):
        slow, fast = (float(value) for value in np.median(known, axis=0))
        if 0 < slow < qc_slowest:
            yield Finding(min(middles), None, "cell_speed", slow, qc_slowest)
        elif fast > qc_fastest:
            yield Finding(min(middles), None, "cell_speed", fast, qc_fastest)


def check_pixel_size(fov: int, pixel_size_um: float | None) -> Findings:
    """A pixel as large or small as in no light microscope, as where the file's unit is taken for another one."""
    if pixel_size_um and not PIXELS_UM[0] <= pixel_size_um <= PIXELS_UM[1]:
        yield Finding(fov, None, "pixel_size", pixel_size_um, PIXELS_UM[pixel_size_um > PIXELS_UM[1]])


def check_cells(
    fov: int, areas: np.ndarray, dividing: np.ndarray, *, qc_count: float, qc_size: float, qc_vanish: float
) -> Findings:
    """Jumps of the number of cells, cells far above the usual size, and frames after which most cells are gone.

    areas: (N, T) pixels of each cell, 0 where it is absent. dividing: (N,) bool, the cells that end since they divide.
    """
    present = areas > 0
    if not present.any():
        yield Finding(fov, None, "no_cells")
        return
    counts = present.sum(axis=0)
    yield from _far_from_neighbours(fov, "cell_count", counts.astype(float), qc_count, least=MIN_CELLS)
    usual = float(np.median(areas[present]))
    for frame in np.flatnonzero(areas.max(axis=0) > qc_size * usual).tolist():
        yield Finding(fov, frame, "cell_size", areas[:, frame].max() / usual, qc_size)
    last = areas.shape[1] - 1 - np.argmax(present[:, ::-1], axis=1)
    for frame in range(1, areas.shape[1]):
        gone = np.count_nonzero((last == frame - 1) & ~dividing)
        if gone >= MIN_CELLS and gone >= qc_vanish * counts[frame - 1]:
            yield Finding(fov, frame, "cells_vanish", gone / counts[frame - 1], qc_vanish)


def check_exchanged_fovs(
    channels: Mapping[str, Mapping[int, Frames]],
    uneven: Mapping[str, Mapping[int, float]],
    *,
    qc_exposure: float,
    offset: float = 0.0,
) -> Findings:
    """FOVs of which two fluorescence channels are exchanged; one row for each of the two.

    channels: by name and FOV. uneven: how unevenly light fills cells, see FovLight. The first that tells of
    background, noise and unevenness gives the value.
    """
    known = {name: {fov: _statistics(frames) for fov, frames in of.items()} for name, of in channels.items()}
    told: set[tuple[int, str]] = set()
    for levels in (light_checks.backgrounds(known, offset), light_checks.noises(known), uneven):
        for fov, name, factor in light_checks.exchanged_between(levels, qc_exposure):
            if (fov, name) not in told:
                told.add((fov, name))
                yield Finding(fov, None, f"exchanged_fov_{name}", factor, qc_exposure)


def check_left_out(fov: int, labeled: Frames, *, qc_dropped: float) -> Findings:
    """Frames, or a FOV, of whose foreground much was left out as too large or too small to be a cell."""
    for frame, share in left_out.large_shares(labeled.attributes[left_out.ATTRIBUTE], qc_dropped):
        yield Finding(fov, frame, "dropped_area", share, qc_dropped)


def check_traces(fov: int, n_cells: int, traces: LightByCell, *, qc_negative: float, qc_exposure: float) -> Findings:
    """Everything left out by the filters; fluorescence below the background; frames in which all cells flicker.

    Intensities are less the background, and cells without fluorescence scatter around 0. Where a frame's cells are on
    average more than `qc_negative` standard errors below 0, the background is too high.
    """
    if n_cells and not traces.cells:
        yield Finding(fov, None, "all_filtered", n_cells)
    for channel in traces.channels():
        by_frame = traces.of_channel(channel)
        for frame, by_cell in by_frame.items():
            values = list(by_cell.values())
            error = np.std(values) / len(values) ** 0.5
            if len(values) >= MIN_SAMPLE and error > 0 and np.mean(values) < -qc_negative * error:
                yield Finding(fov, frame, f"below_background_ch_{channel}", np.mean(values) / error, -qc_negative)
        for frame, factor in flicker.flickers(by_frame, qc_exposure).items():
            yield Finding(fov, frame, f"flicker_ch_{channel}", factor, qc_exposure)


def _statistics(frames: Frames) -> dict[str, np.ndarray]:
    """Statistics of every frame, (T,) float64 each, NaN where the file did not hold it."""
    statistics = frames.attributes.get("frame_statistics")
    if statistics is None:
        from celltraces.frames.statistics import statistics_of  # OpenCV: for arrays that were not copied here alone

        statistics = statistics_of(frames)
    return {
        name: np.array([np.nan if value is None else value for value in values]) for name, values in statistics.items()
    }


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _differs(value: float, usual: float, factor: float) -> bool:
    return value > factor * usual or value * factor < usual


def _far_from_neighbours(
    fov: int, check: str, values: np.ndarray, factor: float, *, least: float = 0, only_low: bool = False
) -> Findings:
    """Frames whose value is `factor` times their neighbours' median, or the reverse, and at least `least` away."""
    for frame in np.flatnonzero(np.isfinite(values)).tolist():
        around = np.r_[values[max(frame - NEIGHBOURS, 0) : frame], values[frame + 1 : frame + 1 + NEIGHBOURS]]
        usual = _median(around)
        if (
            _differs(values[frame], usual, factor)
            and abs(values[frame] - usual) >= least
            and not (only_low and values[frame] > usual)
        ):
            yield Finding(fov, frame, check, values[frame] / usual if usual else np.inf, factor)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def as_csv(findings: Sequence[Finding]) -> str:
    """The table's text, by FOV, frame (the whole FOV first) and check."""
    ordered = sorted(findings, key=lambda row: (row.fov, -1 if row.frame is None else row.frame, row.check))
    lines = [
        ",".join((str(row.fov), _text(row.frame), row.check, _text(row.value), _text(row.limit))) for row in ordered
    ]
    return "\n".join([",".join(COLUMNS), *lines]) + "\n"
