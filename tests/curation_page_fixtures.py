"""Results of one test file of the curation page, the server that shows them, and a page in Chromium."""

import pytest
from browser import new_page
from curation_page_tools import FRAMES, HOSTILE, SIZE, serving
from made_results import label_movie, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """10 FOVs of 16 cells, one for each test: 1 is seen in two frames, 6 becomes 17 in frame 5. And a hostile name."""
    made = tmp_path_factory.mktemp("page") / "results"
    labels = label_movie(FRAMES, SIZE, 16, {1: {2: 0}, 6: {5: 17}})
    write_dataset(made, "one", labels, fovs=10, findings=["0,3,brightness_ch_1,2.5,2.0"])
    write_dataset(made, HOSTILE.replace("/", ""), label_movie(3, 64, 4), name=HOSTILE)
    return made


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as running:
        yield running


@pytest.fixture
def page():
    with new_page() as page:
        yield page
        # What the server refuses, or that it is gone, stands in a line of the page; the browser complains of it, too.
        gone = ("ERR_CONNECTION", "ERR_CONTENT_LENGTH_MISMATCH", "ERR_SOCKET_NOT_CONNECTED")
        expected = ("the server responded with a status of 4", *gone)
        assert [error for error in page.errors if not any(words in error for words in expected)] == []
