"""Find the files that a pattern names, as "/data/Pos{fov}/img_{channel}_{frame}.tif": what stands in each place.

Only names are looked at; the files are opened elsewhere.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from celltraces.errors import UserError

PLACES = ("fov", "channel", "frame", "z")
PLACE = re.compile(r"\{(\w*)\}")
NUMBERED = ("frame", "z")  # what stands there is a number
FEWEST_STEPPED = 3  # frames that tell in which steps they are numbered


class FoundFiles(NamedTuple):
    """The files of a pattern by (FOV, channel, frame, z), each counted from 0; names of FOVs and channels, "" where the
    pattern does not tell them apart; how many frames and z planes the numbers span; the step of the frames' numbers."""

    files: dict[tuple[int, int, int, int], Path]
    fovs: list[str]
    channels: list[str]
    n_frames: int
    n_z: int
    places: frozenset[str]
    frame_step: int


def is_pattern(path: Path) -> bool:
    """Whether a path has a place for a number or name in it, and is no file itself."""
    return any(name in PLACES for name in PLACE.findall(str(path))) and not path.exists()


def matches(path: Path) -> list[tuple[Path, dict[str, str]]]:
    """All files of the pattern, with the text in each place. Raises UserError for a pattern that cannot be meant."""
    written = str(path)
    names = PLACE.findall(written)
    unknown = [name for name in names if name not in PLACES]
    if unknown:
        raise UserError(
            f"'{written}': {{{unknown[0]}}} is no place of a pattern; there are {{fov}}, {{channel}}, "
            "{frame} and {z}"
        )
    if "}{" in written:
        raise UserError(f"'{written}': two places beside each other cannot be told apart; put a character between them")
    found: list[tuple[Path, dict[str, str]]] = [(Path(path.anchor), {})]
    for part in path.parts[1:] if path.anchor else path.parts:
        found = [deeper for folder, values in found for deeper in _deeper(folder, part, values)]
    return [(file, values) for file, values in found if file.is_file()]


def _deeper(folder: Path, part: str, values: dict[str, str]) -> list[tuple[Path, dict[str, str]]]:
    if not PLACE.search(part):
        return [(folder / part, values)]
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return []
    expression, known = _expression(part)
    result = []
    for entry in entries:
        match = expression.fullmatch(entry)
        own = dict(zip(known, match.groups(), strict=True)) if match else None
        if own is not None and all(values.get(name, text) == text for name, text in own.items()):
            result.append((folder / entry, {**values, **own}))
    return result


@lru_cache(maxsize=64)
def _expression(part: str) -> tuple[re.Pattern[str], list[str]]:
    """The regular expression of one part of a path, and which places its groups are."""
    pieces, known = PLACE.split(part), []
    text = re.escape(pieces[0])
    for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        if name in known:
            text += f"(?P={name})"
        else:
            known.append(name)
            text += rf"(?P<{name}>\d+)" if name in NUMBERED else f"(?P<{name}>.+?)"
        text += re.escape(literal)
    return re.compile(text), known


def find_files(path: Path) -> FoundFiles:
    """The files of a pattern, in order. Numbers of frames and z planes count from the least there is, so that one that
    is not there leaves a gap. Where all of 3 or more frames are numbered in steps, as by minutes (0, 10, 20), they
    follow each other. Raises UserError where there is no file, or two are the same."""
    found = matches(path)
    if not found:
        raise UserError(f"no file is named as '{path}' says; correct the pattern")
    fovs = sorted({values.get("fov", "") for _, values in found}, key=natural)
    channels = sorted({values.get("channel", "") for _, values in found}, key=natural)
    numbers = {name: [int(values.get(name, "0")) for _, values in found] for name in NUMBERED}
    least = {name: min(numbers[name]) for name in NUMBERED}
    steps = {"frame": step_of(numbers["frame"]), "z": 1}
    files: dict[tuple[int, int, int, int], Path] = {}
    for file, values in found:
        place = (
            fovs.index(values.get("fov", "")),
            channels.index(values.get("channel", "")),
            *((int(values.get(name, "0")) - least[name]) // steps[name] for name in NUMBERED),
        )
        if place in files:
            raise UserError(f"'{files[place]}' and '{file}' are the same plane of '{path}'; keep one")
        files[place] = file
    spans = {name: (max(numbers[name]) - least[name]) // steps[name] + 1 for name in NUMBERED}
    if spans["frame"] * spans["z"] > 100 * len(found) + 1000:
        raise UserError(
            f"'{path}': the numbers of its {len(found)} files lie far apart ({spans['frame']} frames, {spans['z']} z "
            "planes); correct the pattern"
        )
    places = frozenset(PLACE.findall(str(path)))
    return FoundFiles(files, fovs, channels, spans["frame"], spans["z"], places, steps["frame"])


def step_of(numbers: Sequence[int]) -> int:
    """The step in which frames are numbered: 1, or more where there are FEWEST_STEPPED and all lie so far apart."""
    different = sorted(set(numbers))
    return math.gcd(*(number - different[0] for number in different)) if len(different) >= FEWEST_STEPPED else 1


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sort by this, and 2 comes before 10."""
    return [
        (0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"(\d+)", text) if piece
    ]
