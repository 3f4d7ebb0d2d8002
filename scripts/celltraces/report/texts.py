"""Write the texts and tables of the report as plain data for its template."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from celltraces.config.schema import load_schema
from celltraces.features.cell_list import KINDS
from celltraces.labels.left_out import LIMITS
from celltraces.pictures.legend import time_unit

# What the checks of qc.csv mean, by the beginning of their names.
CHECKS = {
    "missing": "planes that are not in the file (value: how many)",
    "blank": "frames with one value only",
    "duplicate_fov": "frames that are the same as in another FOV (value: which), although each has noise of its own",
    "duplicate": "frames that are the same as another (value: which)",
    "repeated": "this share of a frame (value) is the same as in the frame before, or in another channel",
    "uncovered": "share of the pixels that hold no data (value): no tile of a mosaic, blank borders",
    "saturated_cell": "this share of a cell's pixels (value) is cut off at the highest value: its light is too low",
    "saturated": "values cut off at the highest: intensities are too low",
    "stretched": "each frame has 0 and the same highest value (value): contrast was enhanced frame by frame when the "
    "images were saved, so that intensities mean nothing. Export the images as the camera gave them",
    "brightness": "a frame unlike its neighbours, or a FOV unlike the others: lamp, shutter",
    "low_contrast": "frames less sharp than their neighbours: focus",
    "exposure_fov": "the background of this FOV is brighter or darker than in the others, by this factor (value): "
    "exposure time, lamp, medium. Intensities of its cells cannot be compared with theirs as they are",
    "exchanged_fov": "two fluorescence channels of this FOV are exchanged: each has the background, or noise, or fills "
    "cells as the other in all other FOVs (value: by what factor it differs from its own). Its traces are the other's",
    "exchanged": "this channel looks like phase contrast, and the phase contrast like fluorescence: channels are "
    "exchanged, in the config or in the file, and all results are wrong",
    "not_fluorescence": "this channel looks like phase contrast or bright field: its intensities are no fluorescence; "
    "look up the channel's number in the config",
    "not_phase_contrast": "the phase contrast is bright on dark, as fluorescence is (value): the cells may be none; "
    "look up the channel's number in the config",
    "no_light": "nothing but noise in any FOV (value: likeness of frames), so traces are noise: lamp, filter, shutter",
    "hot_pixels": "a pixel of the camera that is bright in all frames lies in a cell and adds this share (value) of "
    "the usual light of a cell",
    "dead_lines": "so many rows and columns (value) have one value, or repeat the one beside them, in all frames: dead "
    "lines of the camera or narrow borders. Intensities of cells on them are wrong",
    "wrapped": "values exceed the highest number and begin anew from 0, at so many places (value): the brightest cells "
    "seem dark. Export with more bits, or expose less",
    "channel_shift": "the light of nearly all cells lies beside them, by so many pixels (value), in all frames or from "
    "this one on: filter cube, camera, drift. Intensities are too low; move the channel with chroma",
    "frame_order": "this frame and another one (value: which) stand in each other's place: cells go back and forth",
    "light_late": "from here on the light is that of the cells of so many frames later (value; negative: earlier): the "
    "channel, or phase contrast, lacks a frame that the file does not name. Light lies beside cells, at wrong times",
    "light_order": "the light of this frame is on the cells of another one (value: which): frames of this channel are "
    "exchanged",
    "light_of_fov": "the light of this FOV is on the cells of another one (value: which), and on none of its own: FOVs "
    "are in another order in this channel",
    "mirrored": "the light of this channel is on the cells only if it is mirrored, and then turned by so many degrees "
    "(value): a camera or splitter turns its picture. All intensities are wrong",
    "turned": "the light of this channel is on the cells only if it is turned by so many degrees (value): another "
    "camera. All intensities are wrong",
    "light_drift": "the background of the channel changes gradually in the course of the movie, by this factor "
    "(value): a lamp that fades, or a medium that bleaches. If it is the lamp, the light of cells changes with it",
    "blurred": "more light than before, or than in other FOVs, lies in a ring around the cells, by this share (value) "
    "of theirs: the channel is out of focus, and intensities are too low",
    "odd_part": "a part of the picture, this share (value), shows something else than the frames around it: a bubble, "
    "debris, or a part of another image. Cells there have wrong light and outlines",
    "noise": "this FOV has more or less noise than the others, by this factor (value): gain or mode of the camera",
    "cell_speed": "cells are as slow or as fast (value: um/min) as no cell is: is the unit of time or of pixels right?",
    "exposure_time": "the file says that this channel is exposed so long (value: ms) in this FOV, or from here on, and "
    "otherwise in the first FOV, or before (limit: ms): intensities cannot be compared as they are",
    "fov_overlap": "this FOV shows a part of another one (value: which), by the places of the stage in the file: cells "
    "there are counted twice. Leave one of them out (fovs), or set border_margin to half of what they share",
    "exposure_step": "all pixels brighter or darker by one factor (value) from here on: exposure, lamp",
    "flicker": "nearly all cells brighter or darker by a factor (value) in this frame, or out: lamp, shutter, focus",
    "other_place": "the channel shows another place from here on, or in this frame, or nothing: FOVs, filter, lamp",
    "flat_field": "places are darker, by this share (value), than the estimated flat field says: give a picture of it; "
    "or the picture given leaves the background uneven by it: is it of this channel, objective and camera?",
    "vignetting": "the background is darker at the rim, by this share (value), and cells may be too: flat_field",
    "z_planes": "fewer z planes than in other FOVs (value: how many), of which the highest value is taken",
    "time_order": "time stamps of the file that are missing or go backwards",
    "time_gap": "a pause between two frames",
    "time_assumed": "times are guessed from an interval in minutes (value): the file has none that can be used",
    "time_interval": "from frame to frame pass more than three days, less than a camera needs, or less than a stage "
    "needs to visit all FOVs (value: minutes): is the unit of time right?",
    "time_units": "stamps follow each other at one interval (value: minutes), and the file declares another (limit): "
    "the unit of one of them is wrong",
    "pixel_size": "a pixel is as large or small as in no light microscope (value: um): is its unit right?",
    "time_mapping": "time_mapping gives all FOVs the same times, but this one began later (value: minutes)",
    "stage_shift": "the whole picture jumps by so many pixels (no value: too far to tell, tracks end or mix)",
    "no_cells": "no cell at all",
    "dropped_area": "much of what was segmented is left out: too large, as cells that run together "
    "(max_object_size), too small (min_object_size, segmentation_debris) or too narrow (morph_size, "
    "morph_iterations)",
    "cell_count": "the number of cells jumps",
    "cell_size": "a cell far above the usual size: perhaps several in one",
    "cells_vanish": "most traces end here",
    "all_filtered": "the filters left no cell",
    "below_background": "cells darker than the background, which is then too high",
    "failed": "a job failed: the FOV is not in the tables",
}
CHANGED, REST = "Changed from the default", "Input, storage, exports"
STAGES = {  # what a group of parameters is called, by the first stage that uses them, in the order of the data
    "segment": "Segmentation",
    "track": "Tracking",
    "background": "Background",
    "crop": "Cropping",
    "extract": "Measuring, and cells that are left out",
    "tidy": "Tables",
    "qc": "Checks",
    "index": "Times and scale",
}
ELSEWHERE = ("fov_names", "fovs_processed", "software")  # on the page


def read_findings(path: Path) -> list[dict[str, str]]:
    """The rows of qc.csv."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def checks(findings: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """For each check that struck: how often, in which FOVs, what it means."""
    found: dict[str, dict[str, Any]] = {}
    for row in findings:
        check = found.setdefault(row["check"], {"name": row["check"], "count": 0, "fovs": {}})
        check["count"] += 1
        check["fovs"][int(row["fov"])] = True
    for name, check in found.items():
        check["meaning"] = meaning(name)
        check["fovs"] = list(check["fovs"])
    return list(found.values())


def meaning(check: str) -> str:
    """What a check means; empty for one that is not known."""
    return next((words for start, words in CHECKS.items() if check.startswith(start)), "")


def parameters(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parameters as run, in groups of title, changed (bool) and rows: name, value, unit, default, description.

    First those that differ from the default, which is empty for all others; then the others by stage.
    """
    known = load_schema()["properties"]["params"]["properties"]
    groups: dict[str, list[dict[str, str]]] = {CHANGED: [], **{title: [] for title in STAGES.values()}, REST: []}
    for name, value in params.items():
        declared = known.get(name, {"default": value})
        changed = value != declared["default"]
        stage = next(iter(declared.get("stages", ())), "")
        groups[CHANGED if changed else STAGES.get(stage, REST)].append(
            {
                "name": name,
                "value": _written(value),
                "unit": declared.get("unit", ""),
                "default": _written(declared["default"]) if changed else "",
                "description": declared.get("description", ""),
            }
        )
    return [{"title": title, "changed": title == CHANGED, "rows": rows} for title, rows in groups.items() if rows]


def length_of_movie(times_min: Sequence[float]) -> str:
    """How long a movie is, in words."""
    unit, minutes = time_unit(times_min)
    length = (times_min[-1] - times_min[0]) / minutes
    return f"{length:.1f} h" if unit == "h" else f"{length:.0f} min"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def rest_of_record(record: Mapping[str, Any]) -> str:
    """What else processing_config.yaml says, as YAML, without long lists."""
    provenance = {key: value for key, value in record.get("provenance", {}).items() if key not in ELSEWHERE}
    if "time" in provenance:
        provenance["time"] = {key: value for key, value in provenance["time"].items() if key != "first_fov"}
    rest = {key: value for key, value in record.items() if key not in ("params", "provenance")}
    return yaml.safe_dump(
        {**rest, **provenance}, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )


def cards(
    fovs: Sequence[int],
    names: Mapping[str, str],
    samples: Mapping[str, Sequence[int]],
    digests: Mapping[int, Mapping[str, Any]],
    good: Mapping[int, int],
    findings: Sequence[Mapping[str, str]],
) -> list[dict[str, Any]]:
    """What is said of each FOV. good: numbers of cells in the tables. A FOV without a digest has failed."""
    struck: dict[int, dict[str, bool]] = {}
    for row in findings:
        struck.setdefault(int(row["fov"]), {})[row["check"]] = True
    made = []
    for fov in fovs:
        known = dict.fromkeys(("tracked", "divisions", "taken_in", *KINDS), 0) | {"frame": None}
        known |= digests.get(fov, {})
        made.append(
            {
                "fov": fov,
                "name": names[str(fov)],
                "samples": [name for name, of_sample in samples.items() if fov in of_sample],
                "checks": list(struck.get(fov, {})),
                "failed": fov not in digests,
                "problem": known.get("problem", ""),
                "frame": known["frame"],
                "left_out": known.get("left_out"),
                "tracked": known["tracked"],
                "divisions": known["divisions"],
                "good": good.get(fov, 0),
                "taken_in": known["taken_in"],
                **{kind: known[kind] for kind in KINDS},
                "thumbnail": "",
            }
        )
    return made


def left_out_by_size(of_fovs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What segmentation left out because of its size, in all frames.

    percent: of the foreground; regions: for each reason that struck it, the parameter, and the number of regions.
    FOVs whose method does not tell count as if it had left out nothing.
    """
    told = [card["left_out"] for card in of_fovs if card["left_out"]]
    regions = [
        (reason.replace("_", " "), limit, sum(one[f"{reason}_regions"] for one in told))
        for reason, limit in LIMITS.items()
    ]
    foreground = sum(one["foreground"] for one in told)
    return {
        "percent": 100 * sum(one["left_out"] for one in told) / max(foreground, 1),
        "regions": [row for row in regions if row[2]],
    }


def image_levels(digests: Mapping[int, Mapping[str, Any]], channels: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each channel of each FOV of which `digest_images.py` tells the levels."""
    return [
        {"fov": fov, "channel": channels[image["array"].rsplit("_", 1)[1]], **image}
        for fov, known in digests.items()
        for image in known.get("images", ())
    ]


def numbers_of_cells(of_fovs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Numbers of cells in all FOVs, and of FOVs that failed or have findings."""
    sums = {key: sum(card[key] for card in of_fovs) for key in ("tracked", "divisions", "good", "taken_in", *KINDS)}
    return sums | {
        "fovs": len(of_fovs),
        "failed": sum(card["failed"] for card in of_fovs),
        "flagged": sum(bool(card["checks"]) for card in of_fovs),
    }
