"""`snakemake verify` notices every file that is not as it was written, and nothing else."""

import re
import shlex
import shutil

import pytest
import zarr
from conftest import Checkout, small_config
from hypothesis import given, settings
from hypothesis import strategies as st

from celltraces.storage import checksums


@pytest.fixture(scope="module")
def done(movies, finished_fov, tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("run"), finished_fov)
    checkout.configure(small_config(movies, fovs="0"))
    return checkout


def test_sound_results(done):
    outcome = done.run(None, "verify")
    assert outcome.code == 0, outcome.text
    assert re.search(r"All \d+ results are as they were written.", outcome.text)


def run_remedy(done, outcome):
    """Run the command that verify's output names: its exit status."""
    words = shlex.split(re.search(r"^This command makes new .*\n  (.*)", outcome.text, re.MULTILINE)[1])
    return done.run_named(words).code


@pytest.mark.parametrize(
    "name",
    [
        "small/fov_000/images.zarr/pc_ch_0/0/c/0/0/0",
        "small/fov_000/images.zarr/pc_ch_0/zarr.json",  # one of several outputs of its job, and no target itself
        "small/fov_000/cells.zarr/metadata/cell_ids/c.0",
        "small/report.html",
    ],
)
def test_one_damaged_file_is_named_and_made_new(done, name):
    path = done.folder / "results" / name
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    outcome = done.run(None, "verify")
    assert outcome.code != 0
    assert f"results/{name}: changed since it was written\n" in outcome.text
    assert "verify: 1 file or result is not as written; run the command above; log: " in outcome.text
    assert "verify: :" not in outcome.text
    assert "the same command again" not in outcome.text  # that would only look once more
    assert run_remedy(done, outcome) == 0
    assert path.read_bytes() == sound
    assert done.run(None, "verify").code == 0


def test_damage_of_every_kind_and_back(done):
    folder = done.folder / "results/small"
    shutil.copytree(done.folder / "results", done.folder / "aside")
    (folder / "all_area_ch_0.csv").unlink()
    shard = folder / "fov_000/images.zarr/fl_ch_1/0/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    traces = folder / "fov_000/small_fov_000_traces.csv"
    traces.write_bytes(traces.read_bytes()[:-7])
    shutil.rmtree(folder / "fov_000/cells.zarr/fl_ch_2")
    (done.folder / "results/checksums/small/fov_000/track.txt").unlink()
    before = sorted(done.folder.rglob("results/*"))
    outcome = done.run(None, "verify")
    assert outcome.code != 0
    lines = [line for line in outcome.text.splitlines() if line.startswith("results/")]
    wrong = {line.partition(": ")[0].removeprefix("results/"): line.partition(": ")[2] for line in lines}
    of_cells = {name for name in wrong if "/cells.zarr/fl_ch_2/" in name}
    assert of_cells
    assert all(wrong.pop(name) == "missing" for name in of_cells)
    assert wrong == {
        "small/all_area_ch_0.csv": "missing",
        "small/fov_000/images.zarr/fl_ch_1/0/c/0/0/0": "changed since it was written",
        "small/fov_000/small_fov_000_traces.csv": f"truncated to {len(traces.read_bytes())} of "
        f"{(done.folder / 'aside/small/fov_000/small_fov_000_traces.csv').stat().st_size} bytes",
        "small/fov_000/images.zarr/seg_tracked_ch_0/0": "not made yet, or its checksums were lost",
        "small/fov_000/small_fov_000_lineage.csv": "not made yet, or its checksums were lost",
    }
    assert "Traceback" not in outcome.text
    assert re.search(
        rf"^failed: verify: {len(of_cells) + 5} files or results are not as written; run the",
        outcome.text,
        re.MULTILINE,
    )
    assert [path for path in sorted(done.folder.rglob("results/*")) if "logs" not in path.parts] == [
        path for path in before if "logs" not in path.parts
    ]

    # The remedy that the message names, word for word.
    assert run_remedy(done, outcome) == 0
    assert done.run(None, "verify").code == 0
    for path in (done.folder / "aside/small").rglob("*"):
        if path.is_file() and path.name != ".snakemake_timestamp":
            assert (folder / path.relative_to(done.folder / "aside/small")).read_bytes() == path.read_bytes()


def test_an_array_that_somebody_put_in_the_place_of_ours_is_not_called_damaged(done):
    path = done.folder / "results/small/fov_000/images.zarr/seg_tracked_ch_0/0"
    shutil.copytree(path, done.folder / "ours")
    labels = zarr.open_array(path, mode="r")[...]
    zarr.create_array(path, shape=labels.shape, dtype="uint32", chunks=(1, 50, 50), overwrite=True)[...] = labels
    outcome = done.run(None, "verify")
    assert outcome.code != 0
    lines = {line for line in outcome.text.splitlines() if line.startswith("results/")}
    assert lines == {f"{path.relative_to(done.folder)}: another array than was written; it can be read, and is used"}
    # As damaged as any other, where it cannot be read, and where only its description is another.
    for chunk in path.rglob("c/0/*/*"):
        chunk.write_bytes(chunk.read_bytes()[:5])
    assert "seg_tracked_ch_0/0/c/0/0/0: truncated to 5 of" in done.run(None, "verify").text
    shutil.rmtree(path)
    shutil.copytree(done.folder / "ours", path)
    (path / "zarr.json").write_text((path / "zarr.json").read_text().replace("{", "{ ", 1))
    assert "seg_tracked_ch_0/0/zarr.json: changed since it was written" in done.run(None, "verify").text
    shutil.rmtree(path)
    shutil.move(done.folder / "ours", path)
    assert done.run(None, "verify").code == 0


@pytest.mark.unit
@settings(max_examples=60, deadline=None)
@given(content=st.binary(min_size=1, max_size=300), at=st.integers(0, 299), change=st.integers(1, 255), data=st.data())
def test_any_changed_byte_or_length_is_noticed(tmp_path_factory, content, at, change, data):
    folder = tmp_path_factory.mktemp("results")
    file, listing = folder / "a/b c.bin", folder / "checksums/a/job.txt"
    file.parent.mkdir()
    file.write_bytes(content)
    checksums.write(listing, checksums.lines_of(listing, [file.parent]), "{}")
    assert list(checksums.differences(checksums.read(listing))) == []
    other = bytearray(content)
    other[at % len(content)] ^= change
    file.write_bytes(other)
    assert list(checksums.differences(checksums.read(listing))) == [(file, "changed since it was written")]
    shorter = data.draw(st.integers(0, len(content) - 1))
    file.write_bytes(content[:shorter])
    assert list(checksums.differences(checksums.read(listing))) == [
        (file, f"truncated to {shorter} of {len(content)} bytes")
    ]
    file.write_bytes(content + b"x")
    assert list(checksums.differences(checksums.read(listing))) == [(file, "changed since it was written")]
    file.write_bytes(content)
    assert list(checksums.differences(checksums.read(listing))) == []
    file.unlink()
    assert list(checksums.differences(checksums.read(listing))) == [(file, "missing")]
