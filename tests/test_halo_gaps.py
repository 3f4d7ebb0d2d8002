"""Cells between which a bright halo lies: smooth ones, sisters, chains around background, under uneven light."""

import cv2
import numpy as np
import pytest
from test_segmentation import assert_like_oracle

from celltraces.segmentation.logstd import segment_frame

LEVEL = 6000
YY, XX = np.mgrid[:200, :200]


def phase_contrast(
    cells: list[tuple[float, float, float]],
    texture: float = 0.0,
    noise: float = 0.01,
    slope: float = 0.0,
    white: frozenset[int] = frozenset(),
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A frame (200, 200) uint16 of round phase objects through a Zernike ring, and the disks, bool.

    The light that no object scatters is the mean of the field over some 6 px; the ring turns it by a quarter wave and
    dims it. cells: y, x, radius. texture: of the phase, radian. white: which cells are so thick that they are bright.
    """
    rng = np.random.default_rng(0)
    disks = [(YY - y) ** 2 + (XX - x) ** 2 < r**2 for y, x, r in cells]
    phase = np.zeros(YY.shape)
    for number, (disk, (y, x, r)) in enumerate(zip(disks, cells, strict=True)):
        height = np.sqrt(np.clip(1 - ((YY - y) ** 2 + (XX - x) ** 2) / r**2, 0, 1))
        thick = 2.2 * height if number in white else 0.75 * np.clip(3 * height, 0, 1)
        granules = cv2.GaussianBlur(rng.normal(size=YY.shape), (0, 0), 1.3)
        phase += disk * (thick + texture * granules / granules.std())
    field = np.exp(1j * phase)
    mean = sum(part * cv2.GaussianBlur(values, (0, 0), 6.0) for part, values in ((1, field.real), (1j, field.imag)))
    light = cv2.GaussianBlur(np.abs(field - mean - 0.55j * mean) ** 2 / 0.55**2, (0, 0), 0.8)
    light *= 1 + slope * (XX / 200 - 0.5)
    counts = LEVEL * (light + rng.normal(0, noise, YY.shape))
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16), disks


def overlaps(labels: np.ndarray, disks: list[np.ndarray]) -> list[float]:
    """Of each disk the IoU with the object that covers most of it."""
    found = []
    for disk in disks:
        number = np.bincount(labels[disk]).argmax()
        same = labels == number
        found.append(float((disk & same).sum() / (disk | same).sum()) if number else 0.0)
    return found


@pytest.mark.parametrize("texture", [0.0, 0.18])
@pytest.mark.parametrize("slope", [0.0, 0.4])
def test_cells_with_a_halo_between_them_are_two_objects(texture, slope):
    frame, disks = phase_contrast([(100, 84, 10), (97, 107, 10), (40, 60, 16)], texture, slope=slope)
    labels = assert_like_oracle(frame)
    assert labels.max() == 3
    assert min(overlaps(labels, disks)) > 0.8


def test_small_sisters_beside_a_large_cell_are_found():
    """They have a sixth of its pixels: as pieces of one region, they were dropped as crumbs of it."""
    frame, disks = phase_contrast([(100, 70, 20), (98, 103, 8), (110, 118, 8)], 0.15)
    labels = assert_like_oracle(frame)
    assert labels.max() == 3
    assert min(overlaps(labels, disks)) > 0.6


def test_a_chain_of_cells_does_not_hold_the_background_within_it():
    """The filling of holes takes it in; cells in a ring would be one object above `max_object_size`, and left out."""
    angle = np.arange(9) * 2 * np.pi / 9
    frame, disks = phase_contrast([(100 + 48 * np.sin(a), 100 + 48 * np.cos(a), 14) for a in angle], 0.18)
    labels = assert_like_oracle(frame, max_object_size=5000)
    assert labels[100, 100] == 0
    assert min(overlaps(labels, disks)) > 0.8
    assert labels.max() == 9


@pytest.mark.parametrize("seed", range(4))
def test_one_cell_with_bright_granules_stays_one(seed):
    """As bright as halos; nothing between them is a cell."""
    frame, _ = phase_contrast([(100, 100, 32)], 0.18 + 0.02 * seed)
    rng = np.random.default_rng(seed)
    long = (((YY - 100) / 18) ** 2 + ((XX - 100) / 52) ** 2) < 1
    granules = cv2.GaussianBlur(rng.normal(size=YY.shape), (0, 0), 1.5)
    frame = np.where(long, LEVEL * (0.7 + 0.35 * granules / granules.std()), LEVEL + rng.normal(0, 60, YY.shape))
    ring = cv2.GaussianBlur(long.astype(float), (0, 0), 5) * ~long
    frame = np.clip(cv2.GaussianBlur(frame + 3000 * ring, (0, 0), 0.8), 0, 65535).astype(np.uint16)
    assert assert_like_oracle(frame).max() == 1


def test_outlines_of_parted_cells_are_as_those_of_the_same_cells_alone():
    """What is beside a part is its neighbour's halo, not background: the level is that of the whole region."""
    places = [(100, 84, 14), (100, 117, 14), (72, 100, 14)]
    together, disks = phase_contrast(places, 0.18)
    labels = assert_like_oracle(together)
    for place, disk in zip(places, disks, strict=True):
        alone = segment_frame(phase_contrast([place], 0.18)[0]) > 0
        number = np.bincount(labels[disk]).argmax()
        assert number
        assert abs((labels == number).sum() / alone.sum() - 1) < 0.2
