"""What the benchmark writes after PyAMA's description gives its results: against the oracles of the tests."""

import as_pyama
import numpy as np
import oracles
import oracles_background
from scipy import ndimage

from demo.simulate import simulate


def test_pyamas_work_in_the_benchmark():
    experiment = simulate(n_fovs=1, n_frames=2, height=512, width=512, n_cells=24)
    phase, light = ([experiment.plane(0, frame, channel) for frame in range(2)] for channel in (0, 1))
    masks = [as_pyama.segment(image) for image in phase]
    for mask, image in zip(masks, phase, strict=True):
        np.testing.assert_array_equal(mask, oracles.pyama_labels(image) > 0)
    surface = oracles_background.like_pyama(light[0], masks[0]).astype(np.float32)

    tracked = as_pyama.track(masks)
    ids = oracles.track([oracles.pyama_labels(image) for image in phase])
    n_first = len(ids[0])
    assert n_first > 10
    for labels, image, of_frame in zip(tracked, phase, ids, strict=True):
        for region, cell in of_frame.items():
            if cell <= n_first:  # later cells have no ID in PyAMA
                np.testing.assert_array_equal(labels == cell, oracles.pyama_labels(image) == region)

    rows = np.array(as_pyama.extract(tracked[0], light[0], surface))
    cells = np.arange(1, n_first + 1)
    np.testing.assert_array_equal(rows[:, 0], cells)
    totals = ndimage.sum_labels(light[0] - surface.astype(float), tracked[0], cells)
    np.testing.assert_allclose(rows[:, 5], totals, rtol=1e-3, atol=10)
    boxes = [(x.start, y.start, x.stop - 1, y.stop - 1) for y, x in ndimage.find_objects(tracked[0])]
    np.testing.assert_array_equal(rows[:, 1:5], boxes)

    stack = np.array(light)
    low, high = np.percentile(stack, [1, 99])
    shown = np.clip((stack - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(as_pyama.show(stack), shown, atol=1.01)
