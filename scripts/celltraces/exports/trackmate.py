"""Write tracks as TrackMate XML (spots and links) for Fiji.

Cells are circles of their area, without outlines. Times are frames times the mean step, as the program has it: its
readers refuse others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from celltraces.exports.fov import Fov, Spot, families, in_tables, links, mean_step_min, spots
from celltraces.files import write_text
from celltraces.labels.lineage import Division

VERSION = "7.11.1"  # of the program whose files these are like
SPOT_FEATURES = (
    ("QUALITY", "Quality", "Quality", "QUALITY", False),
    ("POSITION_X", "X", "X", "POSITION", False),
    ("POSITION_Y", "Y", "Y", "POSITION", False),
    ("POSITION_Z", "Z", "Z", "POSITION", False),
    ("POSITION_T", "T", "T", "TIME", False),
    ("FRAME", "Frame", "Frame", "NONE", True),
    ("RADIUS", "Radius", "R", "LENGTH", False),
    ("VISIBILITY", "Visibility", "Visibility", "NONE", True),
    ("AREA", "Area", "Area", "AREA", False),
    ("CELL", "Cell", "Cell", "NONE", True),
    ("IN_TABLES", "In the tables", "In tables", "NONE", True),
)
EDGE_FEATURES = (
    ("SPOT_SOURCE_ID", "Source spot ID", "Source ID", "NONE", True),
    ("SPOT_TARGET_ID", "Target spot ID", "Target ID", "NONE", True),
)
TRACK_FEATURES = (
    ("TRACK_INDEX", "Track index", "Index", "NONE", True),
    ("TRACK_ID", "Track ID", "ID", "NONE", True),
    ("NUMBER_SPOTS", "Number of spots in track", "N spots", "NONE", True),
)


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write the cells as spots and tracks of TrackMate."""
    assert fov.labels is not None
    found, shape = list(spots(fov.labels)), fov.labels.shape
    text = document(fov.base, found, fov.divisions, shape, in_tables(fov), **fov.settings)
    write_text(outputs[0], text)


def document(
    name: str,
    found: list[Spot],
    divisions: list[Division],
    shape: tuple[int, int, int],
    counted: Collection[tuple[int, int]],
    *,
    pixel_size_um: float | None,
    times_min: Sequence[float],
) -> str:
    """The XML. Positions in um (pixels where the pixel size is unknown), times in minutes.

    A track is a family of cells: links over divisions are in it. counted: the cells and frames that tables have, which
    the feature IN_TABLES tells of each spot (1 or 0).
    """
    pixel = pixel_size_um or 1.0
    root = Element("TrackMate", version=VERSION)
    model = SubElement(root, "Model", spatialunits="micron" if pixel_size_um else "pixel", timeunits="min")
    declarations = SubElement(model, "FeatureDeclarations")
    for group, features in (
        ("SpotFeatures", SPOT_FEATURES),
        ("EdgeFeatures", EDGE_FEATURES),
        ("TrackFeatures", TRACK_FEATURES),
    ):
        parent = SubElement(declarations, group)
        for feature, label, short, dimension, is_int in features:
            names = {"feature": feature, "name": label, "shortname": short, "dimension": dimension}
            SubElement(parent, "Feature", names, isint=str(is_int).lower())
    step = mean_step_min(times_min)
    step = 1.0 if step is None else step
    _add_spots(model, found, counted, shape[0], pixel, step)
    _add_tracks(model, found, divisions)
    settings = SubElement(root, "Settings")
    image = {"filename": f"{name}.ome.tif", "folder": "", "nframes": shape[0], "height": shape[1], "width": shape[2]}
    image |= {"nslices": 1, "pixelwidth": pixel, "pixelheight": pixel, "voxeldepth": 1.0, "timeinterval": step}
    SubElement(settings, "ImageData", {key: str(value) for key, value in image.items()})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_spots(
    model: Element, found: list[Spot], counted: Collection[tuple[int, int]], n_frames: int, pixel: float, step: float
) -> None:
    every = SubElement(model, "AllSpots", nspots=str(len(found)))
    frames = [SubElement(every, "SpotsInFrame", frame=str(frame)) for frame in range(n_frames)]
    for at, spot in enumerate(found):
        area = spot.area * pixel**2
        values = {"ID": at, "name": f"cell {spot.cell}", "QUALITY": 1.0, "VISIBILITY": 1, "FRAME": spot.frame}
        values |= {"POSITION_X": spot.x * pixel, "POSITION_Y": spot.y * pixel, "POSITION_Z": 0.0}
        values |= {"POSITION_T": spot.frame * step, "RADIUS": math.sqrt(area / math.pi), "AREA": area}
        values |= {"CELL": spot.cell, "IN_TABLES": int((spot.cell, spot.frame) in counted)}
        SubElement(frames[spot.frame], "Spot", {key: str(value) for key, value in values.items()})


def _add_tracks(model: Element, found: list[Spot], divisions: list[Division]) -> None:
    """Links by family. TrackMate has no track of a single spot."""
    family = families(divisions)
    by_family: dict[int, list[tuple[int, int]]] = {}
    for source, target in links(found, divisions):
        cell = found[source].cell
        by_family.setdefault(family.get(cell, cell), []).append((source, target))
    tracks = SubElement(model, "AllTracks")
    for index, (cell, edges) in enumerate(sorted(by_family.items())):
        values = {"name": f"cell {cell}", "TRACK_INDEX": index, "TRACK_ID": cell}
        values |= {"NUMBER_SPOTS": len({spot for edge in edges for spot in edge})}
        track = SubElement(tracks, "Track", {key: str(value) for key, value in values.items()})
        for source, target in edges:
            SubElement(track, "Edge", SPOT_SOURCE_ID=str(source), SPOT_TARGET_ID=str(target))
    kept = SubElement(model, "FilteredTracks")
    for cell in sorted(by_family):
        SubElement(kept, "TrackID", TRACK_ID=str(cell))
