"""A daughter that lies in one region with a neighbour from her first frame on is found, and nothing else is cut."""

import numpy as np
import pytest
from division_tools import ellipse, found_in, movie

from celltraces.tracking import overlap
from celltraces.tracking.shared_regions import part_regions

AT, N_FRAMES = 12, 30
NEIGHBOUR = ellipse(60, 117, 16, 1.2, np.pi / 2)
BRIDGE = ellipse(60, 101, 4)


def mother(frame, radius=15.0, length=1.4, rounds=4):
    """Flat, and small and round in the last frames."""
    flat = frame < AT - rounds
    return ellipse(60, 80, radius, length, 0.3) if flat else ellipse(60, 80, 0.85 * radius, 1.03)


def daughters(frame, first=8.5, second=8.5):
    """They spread; the first goes to the left, the other one stays beside the neighbour at the right."""
    size, away = 1.02 ** min(frame - AT, 10), 0.4 * (frame - AT)
    return ellipse(60, 70.5 - away, first * size), ellipse(60, 90.5 - away / 10, second * size)


def joined(one, other):
    return one | other | BRIDGE


def hidden(frame, **how):
    """The second daughter is one region with the neighbour as long as the movie lasts."""
    if frame < AT:
        return [mother(frame), NEIGHBOUR]
    first, second = daughters(frame, **how)
    return [first, joined(second & ~NEIGHBOUR, NEIGHBOUR)]


def hidden_after_a_clump(frame):
    """All three are one region for two frames; the daughters are cut apart in these by the later ones."""
    first, *others = hidden(frame)
    return [first | others[0] | ellipse(60, 80, 6)] if AT <= frame < AT + 2 else [first, *others]


def parted(frames, movement=None):
    return [labels for labels, _ in part_regions(frames, 10, movement)]


def linked(frames):
    return overlap.track(frames, split_touching=True)


@pytest.mark.parametrize("cells", [hidden, hidden_after_a_clump])
def test_the_mother_ends_and_both_daughters_are_followed(cells):
    frames = movie(cells, N_FRAMES)
    assert not found_in(frames, linked)[1]  # linking alone knows nothing of her
    tracked, divisions = found_in(parted(frames), linked)
    ((parent, numbers, frame),) = divisions
    assert (parent, frame) == (int(tracked[0][60, 80]), AT)
    neighbour = int(tracked[0][60, 117])
    for at in range(AT, N_FRAMES):
        first, second = daughters(at)
        clear = second & ~NEIGHBOUR
        held = [int(np.bincount(tracked[at][mask]).argmax()) for mask in (first, clear, NEIGHBOUR)]
        assert {*held[:2]} == {*numbers}
        assert held[2] == neighbour
        assert (tracked[at][clear] == held[1]).mean() > 0.75
        assert (tracked[at][NEIGHBOUR] == neighbour).mean() > 0.85


def test_the_stage_may_jump_as_she_divides():
    """The mother and the neighbour are moved along with the stage before regions are compared with them."""
    jump = 5
    still = movie(hidden, N_FRAMES)
    frames = [np.roll(labels, jump * (at >= AT), axis=0) for at, labels in enumerate(still)]
    movement = {
        "y": [float(jump * (at == AT)) for at in range(N_FRAMES)],
        "x": [0.0] * N_FRAMES,
        "alike": [1.0] * N_FRAMES,
        "unmoved": [0.0] * N_FRAMES,
        "since": [max(0, at - 1) for at in range(N_FRAMES)],
    }
    for at, (one, other) in enumerate(zip(parted(still), parted(frames, movement), strict=True)):
        np.testing.assert_array_equal(np.roll(one, jump * (at >= AT), axis=0), other)


def grows(frame):
    """The neighbour grows by as much as half of the mother, who stays."""
    grown = NEIGHBOUR | (ellipse(60, 104, 11) & ~ellipse(60, 80, 14))
    return [mother(frame), grown if frame >= AT else NEIGHBOUR]


def never_rounds_up(frame):
    return [ellipse(60, 80, 13, 1.4, 0.3), NEIGHBOUR] if frame < AT else hidden(frame)


def always_was_round(frame):
    return [mother(AT - 1), NEIGHBOUR] if frame < AT else hidden(frame)


def loses_half_for_a_moment(frame):
    return hidden(frame) if frame == AT else [mother(min(frame, AT - 1)), NEIGHBOUR]


def loses_a_piece(frame):
    return hidden(frame, first=10.5, second=5)


def is_cut_in_two(frame):
    """The border of segmentation moves: half of a round cell is the neighbour's."""
    if frame < AT:
        return hidden(frame)
    whole, right = mother(AT - 1), np.indices(NEIGHBOUR.shape)[1] >= 80
    return [whole & ~right, joined(whole & right, NEIGHBOUR) | ellipse(60, 96, 4)]


def shrinks_while_the_neighbour_grows_elsewhere(frame):
    """She dies; the neighbour spreads at his other side."""
    if frame < AT:
        return hidden(frame)
    return [daughters(frame)[0], NEIGHBOUR | ellipse(60, 136, 9)]


def slides_below_the_neighbour(frame):
    """Less of her is seen in each frame, and more of the region is over her."""
    over = ellipse(60, 117 - 4 * max(0, frame - AT + 2), 16, 1.2, np.pi / 2)
    return [mother(frame if frame < AT else AT - 1) & ~over, over]


@pytest.mark.parametrize(
    "cells",
    [
        grows,
        never_rounds_up,
        always_was_round,
        loses_half_for_a_moment,
        loses_a_piece,
        is_cut_in_two,
        shrinks_while_the_neighbour_grows_elsewhere,
        slides_below_the_neighbour,
    ],
)
def test_what_is_no_hidden_daughter_is_left_whole(cells):
    frames = movie(cells, N_FRAMES)
    for labels, result in zip(frames, parted(frames), strict=True):
        np.testing.assert_array_equal(result, labels)
