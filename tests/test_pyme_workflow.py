"""The workflow on a spool of PYME."""

import numpy as np
from conftest import Checkout, small_config
from test_formats_pyme import spool


def test_a_spool_through_the_workflow(experiment, movies, tmp_path):
    """The traces are those of the same FOV in an ND2; a change of `pyme` copies anew."""
    n_frames = 8
    planes = [experiment.plane(0, t, c).T for t in range(n_frames) for c in range(3)]
    sizes = {"SizeC": 3, "SizeZ": 1, "SizeT": n_frames}
    metadata = {"voxelsize.x": 0.65, "Camera.CycleTime": 200.0, "ChannelNames": ["Phase", "A", "B"]}
    checkout = Checkout(tmp_path)
    spool(tmp_path / "s.h5", np.stack(planes), sizes=sizes, order="XYCZT", metadata=metadata)
    config = small_config(movies, fovs="0", datasets={"s": "s.h5"})
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    outcome = checkout.run({**config, "datasets": {"s": str(movies / "small.nd2")}, "output_dir": "other"})
    assert outcome.code == 0, outcome.text
    first, second = (tmp_path / name / "s/fov_000/s_fov_000_traces.csv" for name in ("results", "other"))
    assert len(first.read_text().splitlines()) > 8
    assert first.read_bytes() == second.read_bytes()
    assert checkout.planned(config) == {}
    assert checkout.planned({**config, "pyme": {"axes": "xy"}})["copy"] == 1
    outcome = checkout.run(config, "preview", "-n")
    assert outcome.code == 0, outcome.text
