"""Read what microscopes write into the tags of a single page: its time, the pixel size, the name of its position."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from celltraces.metadata import length_um, position_um, positive_number, refuse_declarations
from celltraces.tiff.pages import tag

if TYPE_CHECKING:
    from tifffile import TiffPage

MICRO_MANAGER = 51123  # JSON
UIC1, UIC2 = 33628, 33629  # of MetaMorph's stacks
METASERIES = "<MetaData>"  # MetaMorph's XML in the description begins with it


class Facts(NamedTuple):
    """What one page tells; None for what it does not. `stamp_s` counts from any moment that the pages share."""

    stamp_s: float | None = None
    pixel_size_um: float | None = None
    position: str | None = None
    position_um: list[float] | None = None


def facts_of(page: TiffPage) -> Facts:
    """What the page's own tags tell. Raises ValueError or SyntaxError for tags that are damaged."""
    written = tag(page, MICRO_MANAGER)
    if isinstance(written, Mapping):
        return micro_manager_facts(written)
    if isinstance(tag(page, UIC2), Mapping):
        return stack_facts(page, 0)
    if page.description.lstrip().startswith(METASERIES):
        return _metaseries(page.description)
    return Facts()


def micro_manager_facts(written: Mapping[str, Any]) -> Facts:
    """What the metadata that Micro-Manager writes of a plane tell."""
    elapsed = written.get("ElapsedTime-ms")
    stamp = elapsed / 1000.0 if isinstance(elapsed, int | float) and not isinstance(elapsed, bool) else None
    size = positive_number(written.get("PixelSizeUm") or written.get("PixelSize_um"))
    name = written.get("PositionName")
    places = ([written.get(f"{axis}{end}") for axis in "XY"] for end in ("PositionUm", "Position_um_Intended"))
    place = next(filter(None, (position_um(*stay) for stay in places)), None)
    return Facts(stamp, size, name if isinstance(name, str) and name else None, place)


def stack_planes(page: TiffPage) -> tuple[int, bool | None]:
    """How many planes a stack of MetaMorph has, and whether they are z planes: the distance to the one before is
    written. Else they are frames, if their times differ; None where neither does."""
    written = tag(page, UIC2)
    distances = [float(distance) for distance in written["ZDistance"]]
    if len(distances) > 1 and all(distances[1:]):
        return len(distances), True
    moments = set(zip(written["DateCreated"].tolist(), written["TimeCreated"].tolist(), strict=True))
    return len(distances), False if len(moments) == len(distances) else None


def stack_facts(page: TiffPage, plane: int) -> Facts:
    """As `facts_of`, for one plane of a stack of MetaMorph."""
    times, known = tag(page, UIC2), tag(page, UIC1)
    known = known if isinstance(known, Mapping) else {}
    day, milliseconds = int(times["DateCreated"][plane]), int(times["TimeCreated"][plane])
    size = length_um(known.get("XCalibration"), str(known.get("CalibrationUnits", "")))
    return Facts(day * 86_400.0 + milliseconds / 1000.0 if day else None, size, None)


def _metaseries(description: str) -> Facts:
    from xml.etree.ElementTree import fromstring

    refuse_declarations(description)
    values = {
        element.get("id"): element.get("value", "")
        for element in fromstring(description.strip().strip("\0").encode()).iter("prop")
    }
    stamp = None
    for pattern in ("%Y%m%d %H:%M:%S.%f", "%Y%m%d %H:%M:%S"):
        try:
            moment = datetime.datetime.strptime(values.get("acquisition-time-local") or "", pattern)
            stamp = moment.replace(tzinfo=datetime.UTC).timestamp()
            break
        except ValueError:
            continue
    size = length_um(values.get("spatial-calibration-x"), values.get("spatial-calibration-units"))
    return Facts(stamp, size, values.get("stage-label") or None)
