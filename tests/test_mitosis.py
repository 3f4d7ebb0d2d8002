"""Divisions of mothers who round up for long, whose daughters are one region at first, and who spread at once."""

import numpy as np
import pytest
from division_tools import X, Y, ellipse, found_in, movie

from celltraces.labels.regions import FrameTracks
from celltraces.tracking import sisters


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
