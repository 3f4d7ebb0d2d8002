"""~ and $HOME in paths: what a shell makes of them, everywhere a path can stand; what stands for nothing is refused."""

import getpass
import os

import pytest
from conftest import Checkout, small_config
from hypothesis import given
from hypothesis import strategies as st

from celltraces.config.read_config import complete
from celltraces.config.user_paths import INPUT, METHOD, OUTPUT, expand_path
from celltraces.errors import UserError


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of me")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("NOTHING", "")
    monkeypatch.delenv("ABSENT", raising=False)


@pytest.mark.parametrize("kind", [INPUT, OUTPUT, METHOD])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~/x", "/home/of me/x"),
        ("~", "/home/of me"),
        ("$HOME/x", "/home/of me/x"),
        ("${DATA}/a$DATA/b.nd2", "/data/a/data/b.nd2"),
        ("./~/x", "./~/x"),
        ("a/~/x", "a/~/x"),
        ("a~", "a~"),
        ("plain/path.py:function", "plain/path.py:function"),
        ("~/m.py:segment", "/home/of me/m.py:segment"),
        ("cost $ 5.nd2", "cost $ 5.nd2"),
    ],
)
def test_what_a_shell_makes_of_it(written, meant, kind):
    assert expand_path(written, "key", kind) == meant


def test_another_users_folder():
    user = getpass.getuser()
    assert expand_path(f"~{user}/x", "key") == os.path.expanduser(f"~{user}/x")


@pytest.mark.parametrize("kind", [INPUT, OUTPUT, METHOD])
@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("$ABSENT/x", "the variable $ABSENT in '$ABSENT/x' is not set"),
        ("a/${ABSENT}/x", "the variable $ABSENT"),
        ("$NOTHING/x", "the variable $NOTHING"),
        ("~nobody-of-this-name/x", "the folder of no user; write ./~nobody-of-this-name/x"),
    ],
)
def test_what_stands_for_nothing(written, words, kind):
    with pytest.raises(UserError) as error:
        expand_path(written, "key", kind)
    assert str(error.value).startswith("key: ")
    assert words in str(error.value)


def test_an_input_of_this_very_name_is_meant_itself_an_output_never(tmp_path):
    for name in ("~", "$ABSENT", "a$HOME", "~backup.nd2"):
        (tmp_path / name).mkdir()
        assert expand_path(name, "key", INPUT) == name
        assert expand_path(f"{name}:f", "key", METHOD) == f"{name}:f"
    assert expand_path("~", "key", OUTPUT) == "/home/of me"
    with pytest.raises(UserError, match="ABSENT"):
        expand_path("$ABSENT", "key", OUTPUT)


@given(st.text())
def test_any_text_is_expanded_or_refused(text):
    try:
        expand_path(text, "key")
    except UserError as error:
        assert "key: " in str(error)


def test_everywhere_a_path_can_stand():
    """Each of these is refused by a line of its own that names the key."""
    absent = "$ABSENT/x"
    config = {
        "datasets": {"a": absent},
        "output_dir": absent,
        "corrections": absent,
        "plugins": ["p.py", absent],
        "channels": {"pc": {"channel": 0}},
        "chroma": {"1": absent},
        "shift_field": {"beads": absent},
        "params": {"psf": absent, "recipe": absent}
        | {"segmentation_method": f"{absent}.py:f", "tracking_method": f"{absent}.py:f"},
        "fits": [{"channel": 0, "feature": "area", "model": f"{absent}.py:f"}],
    }
    with pytest.raises(UserError) as error:
        complete(config)
    refused = {line.split(": ")[0] for line in str(error.value).splitlines()}
    assert refused == {
        "datasets.a",
        "output_dir",
        "corrections",
        "plugins.1",
        "chroma.1",
        "shift_field.beads",
        "params.psf",
        "params.recipe",
        "params.segmentation_method",
        "params.tracking_method",
        "fits.0.model",
    }


@pytest.mark.workflow
def test_results_go_home_and_no_folder_of_a_strange_name_is_made(movies, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "small.nd2").symlink_to(movies / "small.nd2")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MOVIES", str(home))
    checkout = Checkout(tmp_path / "checkout")
    config = small_config(movies, fovs="0", output_dir="~/out", params={"copy_only": True})
    config["datasets"] = {"small": "${MOVIES}/small.nd2"}
    outcome = checkout.run(config)
    assert outcome.code == 0, outcome.text
    assert (home / "out/small/fov_000/images.zarr/pc_ch_0/0/zarr.json").exists()
    assert not [path for path in checkout.folder.iterdir() if path.name[0] in "~$"]
    outcome = checkout.run({**config, "output_dir": "$ABSENT/out"})
    assert outcome.code != 0
    assert "output_dir: the variable $ABSENT in '$ABSENT/out' is not set" in outcome.text
    assert "Traceback" not in outcome.text
