"""Understand what files say of themselves: numbers, XML, and units, also where their micro sign was spoilt."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

# Not inches: these come from programs that print.
UM_PER = {"m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "nm": 1e-3, "pm": 1e-6}
LENGTHS = {
    "micron": "um",
    "microns": "um",
    "micrometer": "um",
    "micrometre": "um",
    "micrometers": "um",
    "micrometres": "um",
    "meter": "m",
    "metre": "m",
    "millimeter": "mm",
    "millimetre": "mm",
    "centimeter": "cm",
    "centimetre": "cm",
    "nanometer": "nm",
    "nanometre": "nm",
}
ISO_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII)
SAME_EXPOSURE = 0.02  # share by which exposure times of the same setting may differ
SECONDS_PER = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86400.0}
TIMES = {
    "sec": "s",
    "second": "s",
    "seconds": "s",
    "msec": "ms",
    "millisecond": "ms",
    "milliseconds": "ms",
    "minute": "min",
    "minutes": "min",
    "hour": "h",
    "hours": "h",
    "hr": "h",
    "day": "d",
    "days": "d",
}


def length_um(value: Any, unit: str | None) -> float | None:
    """A length in um; None where value or unit make no length (pixels, or a unit nobody knows)."""
    number, factor = positive_number(value), UM_PER.get(plain_length(unit or ""))
    return None if number is None or factor is None else number * factor


def plain_length(unit: str) -> str:
    """A unit of length by its short name in ASCII, whatever way it is written."""
    return _plain(unit, LENGTHS)


def seconds_per(unit: str | None) -> float | None:
    """How many seconds one of this unit of time is; None for one that nobody knows."""
    return SECONDS_PER.get(_plain(unit or "", TIMES))


def _plain(unit: str, long_names: dict[str, str]) -> str:
    r"""The unit in ASCII. The micro sign comes as \u00b5, as the Greek letter, as the text \u00B5, and as whatever
    remains of it in another encoding: anything outside ASCII, or "?", before an m or s."""
    unit = unit.strip().replace("\\u00B5", "\u00b5").replace("\\u00b5", "\u00b5")
    if unit == "\u00c5":  # Angstrom
        return ""
    if unit.lower() in long_names:
        return long_names[unit.lower()]
    prefix, last = unit[:-1], unit[-1:]
    if prefix and last in ("m", "s") and all(ord(letter) > 127 or letter == "?" for letter in prefix.rstrip("\u00b5")):
        return f"u{last}"
    return unit


def posix_seconds(text: str | None) -> float | None:
    """The POSIX seconds of a moment as XML writes it, 2025-01-01T10:00:00.1234567+02:00; None for anything else.

    Without a time zone it counts as UTC: only differences within a file matter.
    """
    match = ISO_MOMENT.fullmatch((text or "").strip())
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    try:
        # datetime knows microseconds, ZEN writes one digit more
        return datetime.fromisoformat(whole + (zone or "Z")).timestamp() + float(f"0.{fraction or 0}")
    except ValueError:
        return None


def whole_number(text: str | None, name: str, default: int | None = None) -> int:
    """A whole number that a file states as text; `default` where it does not. Raises ValueError for anything else."""
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise ValueError(f"its metadata say that {name} is {(text or '')[:40]!r}, which is no whole number") from None


def positive_number(value: Any) -> float | None:
    """Return value as a float if it is a finite number above 0, else None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def refuse_declarations(xml: str) -> None:
    """Raise ValueError for XML with declarations: entities may stand for gigabytes of text, or for other files."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("its metadata declare a document type, which no microscope writes")


def position_um(x: Any, y: Any, um: float = 1.0) -> list[float] | None:
    """Return a place of the stage as [x, y] in um, `um` of which make one of its units; None where it is no place."""
    try:
        place = [float(x) * um, float(y) * um]
    except (TypeError, ValueError):
        return None
    return [round(at, 6) for at in place] if all(map(math.isfinite, place)) else None


def exposure_changes(ms: Iterable[Any]) -> list[list[float]]:
    """Return from which frame on a channel is exposed how long, as [frame, ms], of the exposure of each frame; frames
    of which it is not known are as those before."""
    changes: list[list[float]] = []
    for frame, exposure in enumerate(map(positive_number, ms)):
        if exposure is not None and (not changes or not same_exposure(exposure, changes[-1][1])):
            changes.append([frame, round(exposure, 6)])
    return changes


def same_exposure(one: float, other: float) -> bool:
    """Whether two exposure times are those of one setting."""
    return max(one, other) <= (1 + SAME_EXPOSURE) * min(one, other)
