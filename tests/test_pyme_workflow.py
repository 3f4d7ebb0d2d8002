"""The workflow on a spool of PYME."""

import numpy as np
from conftest import Checkout, small_config
from test_formats_pyme import spool

from celltraces.readers.movie_file import open_movie


def test_a_spool_through_the_workflow(experiment, movies, finished_fov, tmp_path):
    """The traces are those of the same FOV in an ND2; a change of `pyme` copies anew."""
    n_frames = 8
    planes = [experiment.plane(0, t, c).T for t in range(n_frames) for c in range(3)]
    sizes = {"SizeC": 3, "SizeZ": 1, "SizeT": n_frames}
    metadata = {"voxelsize.x": 0.65, "Camera.CycleTime": 200.0, "ChannelNames": ["Phase", "A", "B"]}
    checkout = Checkout(tmp_path)
    spool(tmp_path / "s.h5", np.stack(planes), sizes=sizes, order="XYCZT", metadata=metadata)
    config = small_config(movies, fovs="0", datasets={"s": "s.h5"})
    config["exports"] = ["pyme", "pyme_tif", "pyme_pzf", "pyme_spots"]
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    traces = tmp_path / "results/s/fov_000/s_fov_000_traces.csv"
    assert len(traces.read_text().splitlines()) > 8
    assert traces.read_bytes() == (finished_fov / "small/fov_000/small_fov_000_traces.csv").read_bytes()
    assert checkout.planned(config) == {}
    exports = tmp_path / "results/s/fov_000/exports"
    assert {path.name for path in exports.iterdir()} == {
        *("pyme_pzf", "s_fov_000_pyme.h5", "s_fov_000_traces.hdf", "s_fov_000_fl_ch_1.h5r", "s_fov_000_fl_ch_2.h5r"),
        *(f"s_fov_000_pyme.{ending}" for ending in ("tif", "json", "md", "xml")),
    }
    with open_movie(exports / "s_fov_000_pyme.h5") as read:  # what is exported is input again
        for frame in range(n_frames):
            np.testing.assert_array_equal(
                read(0, frame, range(3), None), np.swapaxes(planes[3 * frame : 3 * frame + 3], 1, 2)
            )
    assert checkout.planned({**config, "pyme": {"axes": "xy"}})["copy"] == 1
    outcome = checkout.run(config, "preview", "-n")
    assert outcome.code == 0, outcome.text
