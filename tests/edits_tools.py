"""Edits for the tests, and edited regions as a dictionary."""

import numpy as np

from celltraces.edits import records, regions
from celltraces.edits.records import Anchor, Edit

ANCHOR = Anchor(11, 40, 123, 442, 391, (112, 430, 135, 455), "9f3c")


def make(by="anna", after=None, **fields):
    """A new edit of dataset d, FOV 0."""
    edit_id, when = records.id_and_date(after)
    return Edit(edit_id, by, when, "d", 0, **fields)


def no_pixels(*_):
    raise AssertionError("the labels are as they were: no pixel is to be looked up")


def as_dict(base, values):
    """(frame, label) -> value of each region, where it is not 0."""
    return {
        (int(frame), int(n)): int(value)
        for frame, n, value in zip(base.frame, base.label, values, strict=True)
        if value
    }


def of_images(movie):
    """The regions of labels (T, H, W), pixel by pixel."""
    tables = []
    for image in movie:
        labels = np.unique(image[image > 0]).astype(np.int64)
        boxes = [[*(np.argwhere(image == n).min(0)), *(np.argwhere(image == n).max(0) + 1)] for n in labels]
        areas = [np.count_nonzero(image == n) for n in labels]
        tables.append((labels, np.array(areas), np.array(boxes).reshape(-1, 4)))
    return regions.from_tables(tables)
