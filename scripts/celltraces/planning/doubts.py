"""Tell what a run does not use, or should not compare, though nothing in it is wrong: a line each, at its end."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise, permutations
from pathlib import Path
from statistics import median
from typing import Any

from celltraces.config.contradictions import ESTIMATE
from celltraces.config.schema import load_schema
from celltraces.config.selection import spell_fovs
from celltraces.config.unused_keys import lines_on_unused_keys, reasons
from celltraces.paths import CURATION, DATASET, Layout, fov_text
from celltraces.planning import acquisition, channel_names, tried_segmentation
from celltraces.planning.channels import known_pixel_size_um
from celltraces.planning.dataset import Dataset
from celltraces.planning.datasets import changed_since_planned
from celltraces.planning.experiment import Experiment
from celltraces.planning.frame_times import frame_times
from celltraces.planning.samples import samples_by_fov
from celltraces.results import time_checks
from celltraces.storage import checksums
from celltraces.tiff import name_pattern

TABLE = r"\.(csv|tsv|txt|xlsx?|xlsm|ods|numbers)(\.\w+)?"  # what spreadsheets save, and copies of it
DECISIONS = re.compile(rf"curation[^/]*{TABLE}|[^/]*inspected[^/]*{TABLE}", re.IGNORECASE)
BINNINGS = (2, 3, 4)  # times as many pixels along each axis
SAME_SCALE = 0.02  # by which pixels and intervals may differ
OF_IMAGES = (
    "copy",
    "segment",
    "track",
)  # stages whose arrays tables are made from; edited ones have lists of their own
UNITS = (1000.0, 60_000.0)  # factors between units of time; intervals of 1 min and 1 h are both usual


def lines_on_doubts(experiment: Experiment) -> Iterator[str]:
    """What a person should know of the datasets together, and of tables that look like decisions and are not read."""
    if experiment.tracing:
        yield from _unused_decisions(experiment.layout, experiment.datasets)
    yield from lines_on_unused_keys(experiment.config)
    yield from _unmeasured(experiment.config)
    yield from _light_beyond_crops(experiment.config)
    yield from _unused_reading(experiment.config, experiment.datasets)
    yield from _unused_times(experiment.config["params"], experiment.datasets)
    yield from _onsets_after_the_end(experiment.config, experiment.datasets)
    yield from acquisition.lines_on_acquisition(experiment.config, experiment.datasets, experiment.tracing)
    for dataset in experiment.datasets.values():
        yield from _changing_input(experiment.layout, dataset)
        yield from channel_names.lines_on_channel_names(experiment.config, dataset)
        yield from _of_all_fovs(experiment, dataset)
        yield from _unused_scales(experiment.config["params"], dataset)
        yield from _frame_sizes(dataset)
        yield from _numbered_in_steps(dataset)
        yield from _edited_results(experiment.layout, dataset)
        if experiment.tracing:
            yield from _in_no_sample(experiment.config, dataset)
    if len(experiment.datasets) > 1:
        yield from _twice(experiment.datasets)
        yield from _channel_names(experiment.datasets)
        yield from _binnings(experiment.datasets)
        if experiment.tracing:
            yield from _pixel_sizes(experiment.config, experiment.datasets)
            yield from _intervals(experiment.config, experiment.datasets)


def _unused_decisions(layout: Layout, datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Tables of decisions under a name, or in a place, where they are not looked for."""
    results = Path(layout.results)
    for path in _tables(results):
        if path.name != CURATION:
            yield f"{path} is not read: decisions on cells are those of {layout.curation}, a CSV of this name"
    for dataset in datasets.values():
        folder = Path(layout.dataset.format(dataset=dataset.name))
        fovs = range(len(dataset.movie.fovs))
        expected = {layout.inspected.format(dataset=dataset.name, fov=fov_text(fov)) for fov in fovs}
        folders = [folder, *(Path(layout.fov.format(dataset=dataset.name, fov=fov_text(fov))) for fov in fovs)]
        for path in (table for place in folders for table in _tables(place)):
            if path.as_posix() not in expected:
                like = layout.inspected.format(dataset=dataset.name, fov="000")
                yield f"{path} is not read: decisions on cells are those of {layout.curation} and of tables like {like}"


def _changing_input(layout: Layout, dataset: Dataset) -> Iterator[str]:
    """A file that changed while the run read it: parts of the results may be of what it was before, others not."""
    if changed_since_planned(layout, dataset):
        yield (
            f"{dataset.name}: {dataset.path} changed since this run began (is it still being written or copied?): "
            "results may be of parts of both; when it is complete, run the same command again"
        )


def _tables(folder: Path) -> Iterator[Path]:
    """Files in a folder whose name is that of a table of decisions, or nearly."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    yield from (folder / name for name in names if DECISIONS.fullmatch(name) and (folder / name).is_file())


def _unused_scales(params: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """A pixel size or an interval of the config that is another than the file's, which counts."""
    given, own = params["pixel_size_um"], dataset.movie.pixel_size_um
    if given and own and not _alike(given, own):
        yield (
            f"params.pixel_size_um: {given:g} is not used for {dataset.name}, since {dataset.path} says {own:.4g} um, "
            "which counts; correct it in the file if it is wrong"
        )
    given, default = params["frame_interval"], load_schema()["properties"]["params"]["properties"]["frame_interval"]
    times, source = frame_times(dataset, (dataset.fovs or (0,))[0], params)
    if len(times) > 1 and source.startswith("file") and given != default["default"]:
        own = _interval(times)
        if not _alike(given, own):
            yield (
                f"params.frame_interval: {given:g} is not used for {dataset.name}, since {dataset.path} says "
                f"{own:.4g} min, which counts; `time_mapping` overrides a file"
            )


def _of_all_fovs(experiment: Experiment, dataset: Dataset) -> Iterator[str]:
    """What is found on frames of all FOVs of a file, also of those that are not processed."""
    left_out = sorted({*range(len(dataset.movie.fovs))} - {*dataset.fovs, *dataset.failed})
    instead = {}
    if ESTIMATE in experiment.flat.values():
        instead["the flat field"] = "a picture under `flat_field`"
    if experiment.tracing and tried_segmentation.finds_scale(experiment.config):
        instead["the scale for the network"] = "`segmentation_scale`"
    if left_out and instead:
        yield (
            f"{dataset.name}: frames of all FOVs of the file, also of {spell_fovs(left_out)}, which `fovs` leaves out, "
            f"tell {' and '.join(instead)}, so that a FOV more or less changes no other; if they should not, give "
            f"{' and '.join(instead.values())}"
        )


def _alike(one: float, other: float) -> bool:
    return max(one, other) <= (1 + SAME_SCALE) * min(one, other)


def _interval(times: Sequence[float]) -> float:
    return median(later - earlier for earlier, later in pairwise(times))


def _frame_sizes(dataset: Dataset) -> Iterator[str]:
    """FOVs of a file whose frames are so much smaller than those of others as another binning makes them."""
    sides = {(dataset.movie.fovs[fov]["height"], dataset.movie.fovs[fov]["width"]): fov for fov in dataset.fovs[::-1]}
    for small, large in _binned(sides):
        yield (
            f"{dataset.name}: frames are {small[0]} x {small[1]} px in FOV {sides[small]} and {large[0]} x {large[1]} "
            f"in FOV {sides[large]}: was the camera's binning changed? Areas and intensities cannot be compared as "
            "they are, and the size of a pixel is that of one of them; process them apart (`fovs`)"
        )


def _unmeasured(config: Mapping[str, Any]) -> Iterator[str]:
    """Features of which no table comes, and tables without any."""
    channels = config["channels"]
    named = [f"{channel['channel']!r}" for channel in channels["fl"] if channel["features"]]
    if config["params"]["copy_only"]:
        return
    if not channels["pc"] and named:
        yield (
            f"channels.fl: features of channel {', '.join(named)} are not measured: no cells are looked for without "
            "channels.pc; images are copied and backgrounds estimated"
        )
    elif channels["pc"] and not named and not channels["pc"]["features"]:
        yield "channels: no channel has features, so that tables hold where cells are and nothing else: see `features`"


def _light_beyond_crops(config: Mapping[str, Any]) -> Iterator[str]:
    """Totals of light that end where the crops do, at a frame in which the cell comes near the edge of its crop."""
    params = config["params"]
    reach = params["mask_margin"] + params["light_margin"]
    if params["copy_only"] or "light_margin" in reasons(config) or reach <= params["crop_padding"]:
        return
    yield (
        f"params.light_margin: intensity_total is to be summed {reach} px around a cell (with mask_margin), and crops "
        f"end {params['crop_padding']} px around it, so that in some frames light is missing: set crop_padding to "
        f"{reach}, or lower light_margin"
    )


def _unused_reading(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Settings of a format that no input has."""
    declared = load_schema()["properties"]["pyme"]["properties"]
    written = [key for key, value in config["pyme"].items() if value != declared[key]["default"]]
    beads = config["shift_field"]["beads"]
    if written and not beads and all(dataset.movie.format != "pyme" for dataset in datasets.values()):
        yield f"pyme.{', '.join(written)}: no dataset is an .h5 file of PYME, so that nothing is read in another way"


def _unused_times(params: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Frames that `time_mapping` names and no movie has, as where it counts them from 1."""
    frames = max((dataset.movie.n_frames for dataset in datasets.values()), default=0)
    beyond = [frame for frame in sorted(map(int, params["time_mapping"] or ())) if frame >= frames]
    if beyond:
        yield (
            f"params.time_mapping: frame {beyond[0]} is in no movie; frames count from 0, the last one is "
            f"{frames - 1}. Is each time that of the frame before?"
        )


def _onsets_after_the_end(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Fits whose onset is sought after the last frame of all movies, as where it is given in minutes."""
    ends_min = [
        frame_times(dataset, (dataset.fovs or (0,))[0], config["params"])[0][-1] for dataset in datasets.values()
    ]
    last_h = max(ends_min, default=0.0) / 60
    for at, fit in enumerate(config["fits"]):
        onset = (fit.get("parameters") or {}).get("t0") or {}
        earliest = onset["fixed"] if "fixed" in onset else (onset.get("bounds") or [0.0])[0]
        if earliest > last_h:
            yield (
                f"fits.{at}.parameters.t0: {earliest:g} h or later is after the last frame ({last_h:.4g} h), so that "
                "nothing can be fitted; times of fits are hours"
            )


def _numbered_in_steps(dataset: Dataset) -> Iterator[str]:
    """A pattern of files whose frames are numbered 0, 10, 20, ..., and are taken for frames that follow each other."""
    path = Path(dataset.path)
    step = name_pattern.find_files(path).frame_step if name_pattern.is_pattern(path) else 1
    if step > 1:
        yield (
            f"{dataset.name}: files are numbered in steps of {step}; they are taken for {dataset.movie.n_frames} "
            "frames that follow each other, with the time between two of them as `frame_interval` or the files say"
        )


def _edited_results(layout: Layout, dataset: Dataset) -> Iterator[str]:
    """Tables and images that are not as they were written: a spreadsheet saved them with rounded numbers, or they are
    those of another dataset, copied here.
    """
    known = {"dataset": dataset.name}
    listings = [Path(layout.checksums("extract").format(fov=fov_text(fov), **known)) for fov in dataset.fovs]
    listings += sorted(Path(layout.checksums("x", DATASET).format(**known)).parent.glob("*.txt"))
    for listing in listings:
        for file, what in _not_as_listed(listing, _is_table):
            yield (
                f"{file}: {what}, by hand or a spreadsheet; what is made from it holds that. To edit a table copy it "
                "to another place; delete this one, and the next run makes it anew"
            )
    for fov in (fov_text(fov) for fov in dataset.fovs):
        listings = [Path(layout.checksums(stage).format(fov=fov, **known)) for stage in OF_IMAGES]
        files = [file for listing in listings for file, _ in _not_as_listed(listing, _is_chunk)]
        if names := ", ".join(dict.fromkeys(file.relative_to(layout.results).parts[3] for file in files)):
            yield (
                f"{layout.images.format(fov=fov, **known)}: not as it was written, so changed or of another dataset: "
                f"{names}; tables are made from that. Delete it, and the next run makes it anew"
            )


def _is_table(file: Path) -> bool:
    return file.suffix == ".csv"


def _is_chunk(file: Path) -> bool:
    """Whether a file holds pixels of an array of images.zarr, as `0/c/0/0/0`."""
    return file.parent.parent.parent.name == "c"


def _not_as_listed(listing: Path, counts: Callable[[Path], bool]) -> Iterator[tuple[Path, str]]:
    """Those files of a list that count and are not as they were written.

    Only those that are newer than the list, or of another size, are read.
    """
    try:
        written_at = listing.stat().st_mtime
        listed = {file: of for file, of in checksums.read(listing).items() if counts(file)}
        suspected = {
            file: (checksum, size)
            for file, (checksum, size) in listed.items()
            if (status := file.stat()).st_mtime > written_at or status.st_size != size
        }
    except (OSError, ValueError):
        return  # not made yet, or damaged, which `verify` tells
    yield from checksums.differences(suspected)


def _binned(sides: Iterable[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of sizes (height, width) of which the second is the first, binned less."""
    for small, large in permutations(sides, 2):
        if any(all(0 <= big - by * side < by for side, big in zip(small, large, strict=True)) for by in BINNINGS):
            yield small, large


def _binnings(datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Datasets with the same pixel size whose frames differ as by binning: one of the files tells it wrong."""
    sizes = {}
    for name, dataset in datasets.items():
        if dataset.fovs and dataset.movie.pixel_size_um:
            place = dataset.movie.fovs[dataset.fovs[0]]
            sizes.setdefault((place["height"], place["width"]), (name, dataset.movie.pixel_size_um))
    for small, large in _binned(sizes):
        (one, size), (other, other_size) = sizes[small], sizes[large]
        if _alike(size, other_size):
            yield (
                f"frames are {small[0]} x {small[1]} px in {one} and {large[0]} x {large[1]} in {other}, of "
                f"{size:.4g} um each by both files: with another binning pixels are larger; is one of them wrong?"
            )


def _in_no_sample(config: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """FOVs that are processed and in no sample, where others of the dataset are in one."""
    of_sample = samples_by_fov(config, dataset)
    left_out = [fov for fov in dataset.fovs if str(fov) not in of_sample]
    if of_sample and left_out:
        which, verb = (f"FOV {left_out[0]}", "is") if len(left_out) == 1 else (f"FOVs {spell_fovs(left_out)}", "are")
        yield f"{which} of {dataset.name} {verb} in no sample, and so in no merged table: see `samples`"


def _channel_names(datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Channels that are taken by number, and have in one file the name that another number has in the other, or that of
    a dye of another colour."""
    for one, other in combinations(datasets.values(), 2):
        names, others = one.movie.channels, other.movie.channels
        for channel in (one.pc, *one.fl):
            if channel is None or max(channel + 1, 0) > min(len(names), len(others)):
                continue
            name, its = names[channel], others[channel]
            if name != its and (name in others or its in names):
                yield (
                    f"channel {channel} is {name!r} in {one.name} and {its!r} in {other.name}: the files have their "
                    f"channels in another order; name them in `channels` ({name!r}) in the place of numbers, or give "
                    "the files a config each"
                )
                continue
            colours = [channel_names.colour_of_dye(each) for each in (name, its)]
            if channel in one.fl and None not in colours and colours[0] != colours[1]:
                yield (
                    f"channel {channel} is {name!r} in {one.name} and {its!r} in {other.name}, of another dye by its "
                    "name: they stand in the same columns of tables; give the files a config each"
                )


def _twice(datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Datasets that have FOVs of the same file."""
    for one, other in combinations(datasets.values(), 2):
        both = sorted({*one.fovs} & {*other.fovs})
        if both and one.identity == other.identity:
            which = f"FOV {spell_fovs(both)}" if len(both) == 1 else f"FOVs {spell_fovs(both)}"
            yield (
                f"datasets {one.name} and {other.name} are the same file: cells of {which} count twice in what is made "
                "of both; take one of them out of the config, or give them different `fovs`"
            )


def _pixel_sizes(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Datasets whose pixels differ, or of which some do not say."""
    sizes = {name: known_pixel_size_um(config, dataset) for name, dataset in datasets.items()}
    known = [size for size in sizes.values() if size]
    if known and (len(known) < len(sizes) or not _alike(max(known), min(known))):
        told = ", ".join(f"{f'{size:.4g} um' if size else 'unknown'} in {name}" for name, size in sizes.items())
        yield (
            f"pixels differ: {told}; areas, lengths and total intensities in tables over these datasets are in pixels "
            "and cannot be compared as they are"
        )


def _intervals(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Datasets whose intervals differ by the factor between two units of time, as where one file's unit is wrong."""
    intervals: dict[str, float] = {}
    for name, dataset in datasets.items():
        times = frame_times(dataset, (dataset.fovs or (0,))[0], config["params"])[0]
        if len(times) > 1:
            intervals[name] = _interval(times)
    for one, other in combinations(intervals, 2):
        short, long = sorted((one, other), key=intervals.__getitem__)
        if time_checks.in_other_unit(intervals[long], intervals[short], UNITS):
            yield (
                f"frames follow each other every {intervals[short]:.4g} min in {short}, {intervals[long]:.4g} min in "
                f"{long}: is the unit of time of one of the files wrong? `frame_interval` does not override a file, "
                "`time_mapping` does"
            )
