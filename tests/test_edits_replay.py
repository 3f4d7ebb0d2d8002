"""Edits replayed on labels: what a plain dictionary would do, also on the labels of a new segmentation."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from edits_tools import ANCHOR, as_dict, make, no_pixels, of_images
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import expand_labels

from celltraces.edits import anchors, records, regions
from celltraces.edits.replay import replay
from celltraces.edits.undo import in_force

# -------------------------------------------------------------------------------------- replay against a dictionary


def regions_of(present):
    """Regions of a movie from present[frame] = labels there; each label has a place of its own that moves right."""
    return regions.from_tables(
        [
            (
                np.array(sorted(labels), np.int64),
                np.full(len(labels), 16),
                np.array([[5 * n, frame, 5 * n + 4, frame + 4] for n in sorted(labels)], np.int32).reshape(-1, 4),
            )
            for frame, labels in enumerate(present)
        ]
    )


def oracle(present, edits):
    """What edits should make of a movie, by a plain dictionary region -> name of a cell; the same rules, no arrays."""
    undone = {}
    for edit in reversed(edits):  # an undo comes after what it takes back here
        if edit.op == "undo" and not undone.get(edit.id):
            undone[edit.of] = True
    owner = {(frame, n): n for frame, labels in enumerate(present) for n in labels}
    excluded, whole, swaps, applied, children = set(), set(), {}, {}, []

    def of(cell):
        return sorted(region for region, name in owner.items() if name == cell)

    for edit in edits:
        if undone.get(edit.id) or edit.op == "undo":
            continue
        at = edit.cell and (edit.cell.frame, edit.cell.n)
        cell = owner.get(at)
        other = owner.get((edit.other.frame, edit.other.n)) if edit.other else None
        first, last = edit.frames or (0, len(present))
        applied[edit.id] = False
        if (edit.cell and cell is None) or (edit.other and other is None):
            continue
        new = ("new", edit.id)
        mine = of(cell)
        if edit.op == "split":
            if mine[0][0] >= at[0]:
                continue
            owner |= {region: new for region in mine if region[0] >= at[0]}
        elif edit.op == "join":
            theirs = of(other)
            if cell == other or {frame for frame, _ in mine} & {frame for frame, _ in theirs}:
                continue
            owner |= dict.fromkeys(mine + theirs, cell if mine[0] < theirs[0] else other)
        elif edit.op == "swap":
            theirs = of(other)
            moved = [region for region in mine + theirs if region[0] >= edit.frame]
            key = frozenset([cell, other]), edit.frame
            if cell == other or not moved or swaps.get(key, edit.by) != edit.by:
                continue
            swaps[key] = edit.by
            owner |= {region: other if region in mine else cell for region in moved}
        elif edit.op in ("delete", "exclude"):
            chosen = [region for region in mine if first <= region[0] <= last]
            if edit.cell and not chosen:
                continue
            if edit.op == "delete":
                for region in chosen:
                    del owner[region]
            elif edit.cell:
                excluded |= {*chosen}
            else:
                whole |= {*range(first, min(last, len(present) - 1) + 1)}
        elif edit.op == "divide":
            daughters = [(owner.get((d.frame, d.n)), d) for d in edit.daughters]
            before, after = ([r for r in mine if (r[0] < edit.frame) == early] for early in (True, False))
            wrong = any(
                name is None or (d.frame < edit.frame if name == cell else of(name)[0][0] < edit.frame)
                for name, d in daughters
            )
            if not before or wrong:
                continue
            firsts = {of(name)[0] if name != cell else after[0] for name, _ in daughters}
            if len({name for name, _ in daughters}) == 1 and after:
                firsts.add(after[0])
            owner |= dict.fromkeys(after, new)
            children.append((before[-1], firsts))
        applied[edit.id] = True
    new = sorted(
        {name for name in owner.values() if not isinstance(name, int)},
        key=lambda name: (of(name)[0][0], of(name)[0][1]),
    )
    top = max((n for labels in present for n in labels), default=0)
    number = {name: top + 1 + at for at, name in enumerate(new)}
    cells = {region: number.get(name, name) for region, name in owner.items()}
    good, seen = {}, set()
    for edit in edits:
        if edit.id in applied and edit.op in ("good", "bad", "seen"):
            cell = cells.get((edit.cell.frame, edit.cell.n))
            applied[edit.id] = cell is not None
            if cell and edit.op == "seen":
                seen.add(cell)
            elif cell:
                good[cell] = edit.op == "good"
    return cells, good, {*cells} & excluded, whole, seen, applied, children


@st.composite
def edited_movies(draw):
    """present[frame] = labels, and edits by two authors with undos among them."""
    present = draw(st.lists(st.sets(st.integers(1, 4), min_size=1), min_size=2, max_size=5))
    base = regions_of(present)
    edits = []

    def region():
        row = draw(st.integers(0, len(base.frame) - 1))
        y0, x0, *_ = base.box[row].tolist()
        return anchors.anchor_at(base, row, y0 + 1, x0 + 1)

    def frame():
        return draw(st.integers(0, len(present) - 1))

    for _ in range(draw(st.integers(1, 9))):
        op = draw(st.sampled_from(records.OPS if edits else records.OPS[:-1]))
        fields = {}
        if op == "undo":
            fields["of"] = draw(st.sampled_from(edits)).id
        elif op != "exclude" or draw(st.booleans()):
            fields["cell"] = region()
        if op in ("join", "swap"):
            fields["other"] = region()
        if op in ("swap", "divide"):
            fields["frame"] = frame()
        if op == "divide":
            fields["daughters"] = tuple(region() for _ in range(draw(st.integers(1, 2))))
        if op == "exclude" or (op == "delete" and draw(st.booleans())):
            fields["frames"] = tuple(sorted([frame(), frame()]))
        edits.append(make(draw(st.sampled_from(["anna", "bea"])), edits[-1] if edits else None, op=op, **fields))
    return present, base, edits


@settings(deadline=None, max_examples=300)
@given(movie=edited_movies())
def test_replay_does_what_a_dictionary_does(movie):
    present, base, edits = movie
    result = replay(base, edits, no_pixels)
    cells, good, excluded, whole, seen, applied, children = oracle(present, edits)
    assert as_dict(base, result.cell) == cells
    assert result.good == good
    assert {*as_dict(base, result.excluded)} == excluded
    assert result.excluded_frames == whole
    assert result.seen == seen
    for edit in edits:
        status = result.outcomes[edit.id].status
        if edit.id in applied:
            assert (status in ("applied", "overruled")) == applied[edit.id], (edit.op, status)
        else:
            assert (status == "undone") or (edit.op == "undo" and status == "applied")
        assert result.outcomes[edit.id].reason or status == "applied"
    # No cell is twice in a frame.
    assert len({(frame, cell) for (frame, _), cell in cells.items()}) == len(cells)
    # Every parent ends before its daughters begin, and each pair was marked by somebody.
    marked = {(cells.get(parent), cells.get(first)) for parent, firsts in children for first in firsts}
    frames = {cell: [frame for (frame, _), c in cells.items() if c == cell] for cell in cells.values()}
    for daughter, (parent, frame) in result.origins.items():
        assert (parent, daughter) in marked
        assert max(frames[parent]) < frame <= min(frames[daughter])


@settings(deadline=None, max_examples=100)
@given(movie=edited_movies(), data=st.data())
def test_the_order_of_the_lines_does_not_matter_and_undo_gives_the_state_before(movie, data):
    _, base, edits = movie
    before = replay(base, edits, no_pixels)
    shuffled = replay(base, data.draw(st.permutations(edits)), no_pixels)
    assert as_dict(base, before.cell) == as_dict(base, shuffled.cell)
    assert (before.good, before.outcomes, before.origins) == (shuffled.good, shuffled.outcomes, shuffled.origins)
    chosen = data.draw(st.sampled_from([edit for edit in edits if edit.op != "undo"] or [None]))
    if chosen is None:
        return
    # Taking all of the edits back, the last first, gives the base.
    undone = list(edits)
    for edit in reversed(edits):
        if before.outcomes[edit.id].status != "undone" and edit.op != "undo":
            undone.append(make(after=undone[-1], op="undo", of=edit.id))
    empty = replay(base, undone, no_pixels)
    assert as_dict(base, empty.cell) == as_dict(base, base.label)
    assert (empty.good, empty.origins, empty.seen, empty.excluded.any()) == ({}, {}, frozenset(), False)
    # An edit taken back is as one never made; taken back again, as before.
    undo = make(after=undone[-1], op="undo", of=chosen.id)
    without = replay(base, [*edits, undo], no_pixels)
    if not any(edit.of == chosen.id for edit in edits):
        never = replay(base, [edit for edit in edits if chosen.id != edit.id], no_pixels)
        assert (as_dict(base, without.cell), without.good) == (as_dict(base, never.cell), never.good)
        again = replay(base, [*edits, undo, make(after=undo, op="undo", of=undo.id)], no_pixels)
        assert (as_dict(base, again.cell), again.good) == (as_dict(base, before.cell), before.good)
        assert again.outcomes[chosen.id] == before.outcomes[chosen.id]


def test_undo_from_a_clock_that_is_behind_and_undos_in_a_circle():
    mark = replace(make(op="bad", cell=ANCHOR), when="2026-01-01T10:00:00.000Z")
    early = replace(make("bea", op="undo", of=mark.id), when="2026-01-01T09:00:00.000Z")
    assert in_force([early, mark]) == ([], {mark.id: ("undone", "taken back by bea")})
    elsewhere = replace(early, fov=1)
    assert in_force([elsewhere, mark]) == (
        [mark],
        {elsewhere.id: ("lost", f"there is no edit {mark.id} of this FOV")},
    )
    one, two = make(op="undo", of=mark.id), make(op="undo", of=mark.id)
    one = replace(one, of=two.id)
    two = replace(two, of=one.id)
    counting, others = in_force([one, two, mark])
    assert counting == [mark]
    assert {*others} == {one.id, two.id}


def test_two_authors_who_disagree_and_two_who_do_the_same():
    base = regions_of([{1, 2}, {1, 2}, {1, 2}])

    def at(row):
        return anchors.anchor_at(base, row, 0, 0)

    bad = make(op="bad", cell=at(0))
    good = make("bea", bad, op="good", cell=at(4))
    result = replay(base, [good, bad], no_pixels)
    assert result.good == {1: True}
    assert result.outcomes[bad.id] == ("overruled", "bea says good later", 1)
    assert result.outcomes[good.id] == ("applied", "", 1)
    swap = make(op="swap", cell=at(0), other=at(1), frame=1)
    same = make("bea", swap, op="swap", cell=at(3), other=at(2), frame=1)
    result = replay(base, [swap, same], no_pixels)
    assert as_dict(base, result.cell) == {(0, 1): 1, (0, 2): 2, (1, 1): 2, (1, 2): 1, (2, 1): 2, (2, 2): 1}
    assert result.outcomes[same.id].status == "refused"
    assert "anna has exchanged these cells" in result.outcomes[same.id].reason


def test_divisions_of_the_base_follow_the_edits():
    base = regions_of([{1}, {1}, {2, 3}, {2, 3}])
    rows = {(int(f), int(n)): row for row, (f, n) in enumerate(zip(base.frame, base.label, strict=True))}

    def at(frame, n):
        return anchors.anchor_at(base, rows[frame, n], 0, 0)

    lineage = {2: (1, 2), 3: (1, 2)}
    assert replay(base, [], no_pixels, lineage).origins == lineage
    assert replay(base, [make(op="split", cell=at(1, 1))], no_pixels, lineage).origins == {2: (4, 2), 3: (4, 2)}
    assert replay(base, [make(op="join", cell=at(0, 1), other=at(2, 2))], no_pixels, lineage).origins == {}
    assert replay(base, [make(op="delete", cell=at(3, 3))], no_pixels, lineage).origins == {2: (1, 2)}
    # 1 is said to be the mother of 2 alone: what of 3? A cell divides once, the last word counts.
    marked = make(op="divide", cell=at(0, 1), daughters=(at(3, 2),), frame=2)
    assert replay(base, [marked], no_pixels, lineage).origins == {2: (1, 2)}
    # The parent goes on as one of the daughters.
    goes_on = regions_of([{1}, {1}, {1, 2}, {1, 2}])
    two = goes_on.row(2, 2)
    divide = make(
        op="divide",
        cell=anchors.anchor_at(goes_on, goes_on.row(2, 1), 0, 0),
        daughters=(anchors.anchor_at(goes_on, two, 0, 0),),
        frame=2,
    )
    result = replay(goes_on, [divide], no_pixels)
    assert result.origins == {2: (1, 2), 3: (1, 2)}
    assert as_dict(goes_on, result.cell)[3, 1] == 3


# ------------------------------------------------------------------------------------------- after a new segmentation


@st.composite
def label_movies(draw):
    """(T, H, W) labels grown from seeds, as they may be before and after other parameters."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seeds = np.zeros((40, 50), np.uint16)
    # So far apart that none of them can grow over all of another.
    places = rng.choice([50 * y + x for y in (8, 20, 32) for x in (8, 24, 40)], 6, replace=False)
    movies = []
    for grow in (5, int(rng.integers(2, 9))):
        movie = np.zeros((3, 40, 50), np.uint16)
        numbers = rng.permutation(12)[:6] + 1
        for frame in movie:
            seeds[:] = 0
            kept = rng.random(6) < 0.8
            seeds.flat[places[kept]] = numbers[kept]
            frame[:] = expand_labels(seeds, grow)
        movies.append((movie, numbers))
    return movies


@settings(deadline=None, max_examples=60)
@given(movies=label_movies())
def test_after_a_new_segmentation_nothing_is_wrongly_applied_and_all_that_is_lost_is_reported(movies):
    (before, numbers), (after, new_numbers) = movies
    old, new = of_images(before), of_images(after)
    same_cell = dict(zip(numbers.tolist(), new_numbers.tolist(), strict=True))  # both grew from the same seed
    edits = []
    for row in range(len(old.frame)):
        mark = anchors.make_anchor(old, row, before[old.frame[row]])
        assert before[mark.frame, mark.y, mark.x] == mark.n
        edits.append(make(after=edits[-1] if edits else None, op="bad", cell=mark))
    result = replay(new, edits, lambda frame, y, x: int(after[frame, y, x]))
    for edit in edits:
        status, reason, cell = result.outcomes[edit.id]
        ours, frame = edit.cell, edit.cell.frame
        there = after[frame, ours.y, ours.x]
        region = after[frame] == there
        if status in ("applied", "applied, renumbered"):
            if old.fingerprint(frame) == new.fingerprint(frame):
                assert cell == ours.n
                continue
            assert cell == there == same_cell[ours.n]
            assert (status == "applied") == (cell == ours.n)
            assert 0.5 <= region.sum() / ours.area <= 2
            common = np.zeros_like(region)
            y0, x0, y1, x1 = ours.box
            common[y0:y1, x0:x1] = True
            box = np.zeros_like(region)
            box[np.ix_(region.any(1), region.any(0))] = True
            rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
            assert (box & common).sum() >= 0.5 * (box | common).sum()
        else:
            assert reason
            assert status == ("doubtful" if there else "lost")
    assert {*result.good} == {
        result.outcomes[edit.id].cell for edit in edits if result.outcomes[edit.id].status.startswith("applied")
    }


def found_again(anchor, image):
    """The label that an anchor means in a frame of other labels, and that what is there may be another cell (None)."""
    there = image == image[anchor.y, anchor.x]
    if image[anchor.y, anchor.x] == 0:
        return 0
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    boxes = np.zeros((2, *image.shape), bool)
    boxes[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    y0, x0, y1, x1 = anchor.box
    boxes[1, y0:y1, x0:x1] = True
    fits = 0.5 <= there.sum() / anchor.area <= 2 and boxes.all(0).sum() >= 0.5 * boxes.any(0).sum()
    return int(image[anchor.y, anchor.x]) if fits else None


@settings(deadline=None, max_examples=150)
@given(movies=label_movies(), data=st.data())
def test_edits_of_several_people_mean_the_same_cells_after_a_new_segmentation(movies, data):
    """All operations and undos, in any order of the lines: as if only those edits had been made whose
    cells are all found again, by people who saw the new labels."""
    (before, numbers), (after, new_numbers) = movies
    same_cell = dict(zip(numbers.tolist(), new_numbers.tolist(), strict=True))
    old, new = of_images(before), of_images(after)
    if not len(old.frame):
        return
    edits = []

    def anchor():
        row = data.draw(st.integers(0, len(old.frame) - 1))
        return anchors.make_anchor(old, row, before[old.frame[row]])

    for _ in range(data.draw(st.integers(1, 12))):
        op = data.draw(st.sampled_from(records.OPS if edits else records.OPS[:-1]))
        fields = {"of": data.draw(st.sampled_from(edits)).id} if op == "undo" else {"cell": anchor()}
        if op in ("join", "swap"):
            fields["other"] = anchor()
        if op in ("swap", "divide"):
            fields["frame"] = data.draw(st.integers(0, 2))
        if op == "divide":
            fields["daughters"] = tuple(anchor() for _ in range(data.draw(st.integers(1, 2))))
        if op == "exclude" or (op == "delete" and data.draw(st.booleans())):
            fields["frames"] = tuple(sorted([data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))]))
        author = data.draw(st.sampled_from(["anna", "bea", "carla"]))
        edits.append(make(author, edits[-1] if edits else None, op=op, **fields))

    def translated(one):
        """The anchor in the new labels; None where its cell is not found again for certain."""
        frame = one.frame
        label = one.n if (before[frame] == after[frame]).all() else found_again(one, after[frame])
        if label:
            assert label == same_cell[one.n]  # the labels are such that a place is never that of another cell
        return anchors.make_anchor(new, new.row(frame, label), after[frame]) if label else None

    seen_anew, gone = [], set()
    for edit in edits:
        parts = [part for part in (edit.cell, edit.other, *edit.daughters) if part]
        if all(map(translated, parts)):
            moved = {name: translated(part) for name in ("cell", "other") if (part := getattr(edit, name))}
            seen_anew.append(replace(edit, **moved, daughters=tuple(map(translated, edit.daughters))))
        else:
            gone.add(edit.id)
    label_at = lambda frame, y, x: int(after[frame, y, x])  # noqa: E731
    result = replay(new, data.draw(st.permutations(edits)), label_at)
    expected = replay(new, seen_anew, no_pixels)
    assert as_dict(new, result.cell) == as_dict(new, expected.cell)
    assert as_dict(new, result.excluded) == as_dict(new, expected.excluded)
    assert (result.good, result.seen, result.origins) == (expected.good, expected.seen, expected.origins)
    for edit in edits:
        status, reason, _ = result.outcomes[edit.id]
        if edit.id in gone:
            assert status in ("lost", "doubtful", "undone")
            assert reason
        elif edit.op != "undo":
            assert status.removesuffix(", renumbered") == expected.outcomes[edit.id].status


@settings(deadline=None, max_examples=30)
@given(movie=edited_movies(), data=st.data())
def test_in_which_files_edits_lie_does_not_matter(movie, data):
    _, _, edits = movie
    with TemporaryDirectory() as folder:
        names = data.draw(st.lists(st.sampled_from(["anna", "bea", "z"]), min_size=len(edits), max_size=len(edits)))
        for edit, name in data.draw(st.permutations([*zip(edits, names, strict=True)])):
            with open(Path(folder) / f"{name}.jsonl", "a", encoding="utf-8") as file:
                file.write(records.line_of(edit) + "\n")
        assert records.read_edits(Path(folder)) == (edits, [])


def test_regions_are_kept_beside_edited_labels(tmp_path):
    base = regions_of([{1, 2}, set(), {2}])
    regions.write_regions(tmp_path / "r.zarr.zip", base, np.array([1, 0, 7]))
    read, cell = regions.read_regions(tmp_path / "r.zarr.zip")
    assert (read.n_frames, cell.tolist()) == (3, [1, 0, 7])
    assert all((getattr(read, name) == getattr(base, name)).all() for name in ("frame", "label", "area", "box"))
    assert [read.fingerprint(frame) for frame in range(3)] == [base.fingerprint(frame) for frame in range(3)]
