"""Divisions of mothers who round up for long, whose daughters are one region at first, and who spread at once."""

import numpy as np
import pytest
from division_tools import X, Y, ellipse, found_in, movie

from celltraces.labels.regions import FrameTracks
from celltraces.labels.shapes import shapes_of_pixels
from celltraces.tracking import sisters
from celltraces.tracking.halves import are_round_halves
from celltraces.tracking.mitosis import became_round


def halves(radius, away):
    """Masks of two like cells whose centres lie `away` px from (60, 80), one to the left, one to the right."""
    return [ellipse(60, 80 - away, radius), ellipse(60, 80 + away, radius)]


def joined_at_first(frame, rounds=8, parts=10, joined=4, small=11.5, growth=0.4):
    """A flat cell that is round and small from `rounds` on and parts in `parts`; its daughters spread, and are one
    region for `joined` frames."""
    if frame < rounds:
        return [ellipse(60, 80, 14, 1.4)]
    if frame < parts:
        return [ellipse(60, 80, small)]
    since = min(frame - parts, 10)
    left, right = halves(small / 2**0.5 + growth * since, 7.8 + 0.9 * since)
    return [left | right] if frame < parts + joined else [left & (X < 80), right & (X >= 80)]


@pytest.mark.parametrize("joined", [0, 1, 4, 6])
def test_daughters_that_are_one_region_at_first_are_cut_apart_from_the_frame_in_which_they_are_two(joined):
    tracked, divisions = found_in(movie(lambda frame: joined_at_first(frame, joined=joined)))
    ((parent, daughters, frame),) = divisions
    assert (parent, frame) == (1, 10)
    for frame, numbers in enumerate(tracked):
        here = {*np.unique(numbers)} & {parent, *daughters}
        assert here == ({parent} if frame < 10 else {*daughters})
        if frame >= 10:
            region = np.isin(numbers, daughters)
            sides = [[(numbers[region & side] == one).sum() for one in daughters] for side in (X < 80, X >= 80)]
            assert np.max(sides, axis=1).sum() >= 0.97 * region.sum()


def test_near_the_end_of_the_movie_it_is_enough_that_both_were_one_region_with_a_waist():
    assert len(found_in(movie(joined_at_first, 15))[1]) == 1
    assert not found_in(movie(joined_at_first, 14))[1]


def small_for_long(frame, at=18, telophase=2, spread=2.2):
    """A flat cell that is small from frame 4 on, long before it parts, and whose daughters spread at once."""
    if frame < 4:
        return [ellipse(60, 80, 14, 1.4)]
    if frame < at - telophase:
        return [ellipse(60, 80, 10)]
    if frame < at:
        return [ellipse(60, 80, 10, 1.6)]
    since = min(frame - at, 5)
    return halves(min(7.2 + spread * (since > 0) + 0.4 * since, 10.4), 8.5 + 2 * since)


def test_a_mother_who_was_small_for_long_and_whose_daughters_spread_at_once():
    assert [(parent, frame) for parent, _, frame in found_in(movie(small_for_long, 34))[1]] == [(1, 18)]


def never_small(frame):
    """Two cells in one region, as long as daughters are, that come apart."""
    return joined_at_first(max(frame, 10), joined=4)


def dead(frame):
    """What becomes small and long, and falls into two pieces that become smaller."""
    return joined_at_first(min(frame, 10)) if frame < 14 else halves(7.4 - 0.2 * min(frame - 14, 8), 8.5)


def crumbs(frame, at=18):
    """The same, into pieces that have less than half of it."""
    return small_for_long(frame) if frame < at else halves(4.5, 8.5)


def with_a_neighbour(frame):
    """A round cell that touches another one as large, is one region with it for some frames, and leaves it."""
    if frame < 10:
        return [ellipse(60, 80, 14, 1.4) if frame < 8 else ellipse(60, 80, 11.5)]
    left, right = ellipse(60, 80, 11.5), ellipse(60, 102, 11.5)
    return [left | right] if frame < 14 else [left, ellipse(60, 102 + 1.5 * (frame - 13), 11.5)]


def shrinks_only(frame):
    """A pair in one region that becomes smaller, and no rounder than a pair is."""
    radius = 10.0 if frame < 7 else 9.0
    away = 9.0 if frame < 12 else 10 + 1.5 * (frame - 11)
    one, other = halves(radius, away)
    return [one | other] if frame < 12 else [one, other]


@pytest.mark.parametrize("cells", [never_small, dead, crumbs, with_a_neighbour, shrinks_only])
def test_what_did_not_round_up_and_is_not_as_large_again_is_no_division(cells):
    assert not found_in(movie(cells, 34))[1]


def test_the_cut_follows_the_region_from_where_the_daughters_are_apart():
    """Against pixels that are known to be of one and of the other."""
    whole = (np.abs(Y - 60) < 12) & (np.abs(X - 80) < 30)
    images = [
        np.where(whole, 1, 0),
        np.where(whole, 1, 0),
        np.where(whole & (X < 80), 2, np.where(whole & (X > 80), 5, 0)),
    ]
    mappings = [FrameTracks(np.array([1]), np.array([7]))] * 2 + [FrameTracks(np.array([2, 5]), np.array([9, 7]))]
    changed = sisters.cut(mappings, [0, 1], 2, (7, 9), images.__getitem__)
    for frame in (0, 1):
        assert changed[frame].ids.size == 0
        parts = {number: pixels for pixels, number in changed[frame].parts}
        assert (np.divmod(parts[9], whole.shape[1])[1] <= 80).all()
        assert (np.divmod(parts[7], whole.shape[1])[1] >= 80).all()
        np.testing.assert_array_equal(np.sort(np.concatenate([*parts.values()])), np.flatnonzero(whole))


def are_halves(mother, one, other):
    of = shapes_of_pixels([np.flatnonzero(mask) for mask in (mother, one, other)], mother.shape)
    return are_round_halves(*of.columns()[:5])


@pytest.mark.parametrize(
    ("expected", "one", "other"),
    [
        (True, ellipse(60, 69, 8.5), ellipse(60, 91, 8.5)),
        (True, ellipse(60, 70, 9, 1.4, np.pi / 2), ellipse(60, 90, 9, 1.4, np.pi / 2)),
        (True, ellipse(60, 72, 10), ellipse(60, 94, 7.8)),  # of unlike size, the larger one nearer to her centre
        (False, ellipse(60, 68, 6.5), ellipse(60, 92, 6.5)),  # 0.63 of her area
        (False, ellipse(60, 67, 11), ellipse(60, 93, 11)),  # 1.71 of it
        (False, ellipse(60, 73, 10), ellipse(60, 93, 6.5)),  # one has 0.45 of the other
        (False, ellipse(60, 76, 8.5), ellipse(60, 98, 8.5)),  # off her centre by 0.3 of her diameter
        (False, ellipse(60, 75, 8.5) & (X < 80), ellipse(60, 85, 8.5) & (X > 80)),  # 0.53 of it from each other
        (False, ellipse(60, 69, 8.5, 1.7, np.pi / 2), ellipse(60, 91, 8.5, 1.7, np.pi / 2)),  # long
        (False, ellipse(60, 69, 8.5) & ~(ellipse(60, 74, 4)), ellipse(60, 91, 8.5)),  # a bay in one
        (False, ellipse(60, 80, 12) & (X < 80), ellipse(60, 80, 12) & (X > 80)),  # a disk that is cut
    ],
)
def test_round_halves_of_a_mother(expected, one, other):
    """Of a disk of 12 px; each of those that are none lacks one of the conditions."""
    assert are_halves(ellipse(60, 80, 12), one, other) == expected


@pytest.mark.parametrize(
    ("expected", "before", "last"),
    [
        (True, (600, 0.6), (480, 0.9)),
        (True, (600, 0.85), (480, 0.9)),  # smaller
        (True, (500, 0.6), (500, 0.9)),  # rounder
        (False, (500, 0.85), (500, 0.9)),  # always was round
        (False, (600, 0.5), (480, 0.7)),  # is not round
    ],
)
def test_a_cell_that_became_round(expected, before, last):
    for n_before in (3, 6, 20):
        area, roundness = np.array([before] * n_before + [last] * 3).T
        assert became_round(area, roundness) == expected
    area, roundness = np.array([before] * 2 + [last] * 3).T
    assert not became_round(area, roundness)  # nothing is known of her before
    area, roundness = np.array([(600, 0.5)] * 20 + [last] * 9).T
    assert not became_round(area, roundness)  # long ago
