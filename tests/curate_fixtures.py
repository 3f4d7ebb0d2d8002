"""Made-up results of one dataset for the tests of the curation page's server: to be read by all, or copied for one."""

import shutil

import pytest
from curate_tools import FRAMES, SIZE, client_of
from curation_tools import open_results
from made_results import label_movie, write_dataset


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Two FOVs of 9 cells: 2 becomes 10 in frame 4, 3 is seen in two frames only."""
    folder = tmp_path_factory.mktemp("made")
    labels = label_movie(FRAMES, SIZE, 9, {2: {4: 10}, 3: {2: 0}})
    write_dataset(folder, "one", labels, fovs=2, findings=["0,3,brightness_ch_1,2.5,2.0", "0,,no_cells,0,1"])
    return folder, labels


@pytest.fixture
def results(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "results", ignore=shutil.ignore_patterns("edits"))
    return open_results(tmp_path / "results")


@pytest.fixture(scope="session")
def shared(made):
    """For tests that save nothing."""
    return client_of(open_results(made[0], "reader"))


@pytest.fixture
def client(results):
    return client_of(results)
