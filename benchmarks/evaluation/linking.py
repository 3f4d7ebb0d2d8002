"""Link label images as the workflow does by default, divisions included."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from celltraces.config.schema import load_schema
from celltraces.frames import displacement, stage_movement
from celltraces.labels.lineage import Division
from celltraces.labels.regions import FrameTracks, relabel
from celltraces.labels.shapes import shapes
from celltraces.tracking import overlap, shared_regions
from celltraces.tracking.divisions import find_divisions, numbered
from celltraces.tracking.sightings import sightings_of

Linked = tuple[list[np.ndarray], list[Division]]  # T images (H, W) of the cells' numbers, and which cells divide


def defaults() -> dict[str, Any]:
    """The default of each parameter."""
    return {key: known["default"] for key, known in load_schema()["properties"]["params"]["properties"].items()}


def link(labels: Sequence[np.ndarray], movement: Mapping[str, Sequence[Any]] | None = None) -> Linked:
    """labels: T images (H, W). movement: of the stage, as measured in the pictures."""
    params = defaults()
    labels = [image for image, _ in shared_regions.part_regions(labels, params["max_touching"], movement)]
    linking = ("min_iou", "min_size", "max_size", "max_gap", "iou", "max_distance", "split_touching")
    mappings = overlap.track(labels, movement=movement, **{key: params[key] for key in linking})
    places = np.array([mapping.place or (0, 0) for mapping in mappings])
    seen = sightings_of(mappings, list(map(shapes, labels)), labels[0].shape, places)
    dividing = ("max_gap", "division_roundness", "division_frames", "division_min_age")
    splits = find_divisions(seen, **{key: params[key] for key in dividing})
    mappings, divisions = numbered(mappings, seen, splits, labels.__getitem__)
    return relabeled(labels, mappings), divisions


def movement(images: Sequence[np.ndarray]) -> dict[str, list[Any]]:
    """Of the stage, as the workflow measures it in the images, T of (H, W)."""
    follow = displacement.follower()
    rows = [follow(frame, image) for frame, image in enumerate(images)]
    return {name: [row[name] for row in rows] for name in stage_movement.NAMES}


def relabeled(labels: Sequence[np.ndarray], mappings: Sequence[FrameTracks]) -> list[np.ndarray]:
    return [relabel(image, mapping, np.uint16) for image, mapping in zip(labels, mappings, strict=True)]
