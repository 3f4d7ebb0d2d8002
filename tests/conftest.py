"""What the tests share: the real files, a small simulated experiment, and the workflow run in a copy of itself."""

import ast
import fcntl
import os
import re
import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings
from snakemake_server import run_snakemake

ROOT = Path(__file__).parents[1]
REAL_FILES = Path(os.environ.get("CELLTRACES_TEST_DATA", ROOT.parent / "shared" / "data"))
START = os.getcwd()  # where the tests were started
PARTS = ("Snakefile", "pyproject.toml", "rules", "scripts", "config", "envs", "profiles")
# Properties are tried with the same values in every run, so that a test fails for what was changed and for nothing
# else; `make torture` tries new ones.
# How long an example takes says something of the machine's load alone: no deadline, and no check for slow values.
ANY_PACE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same values", derandomize=True, **ANY_PACE)
settings.register_profile("new values", derandomize=False, print_blob=True, **ANY_PACE)
settings.load_profile("new values" if "CELLTRACES_FUZZ" in os.environ else "same values")
# What `make setup` installs, and nothing else. The tests run in .venv/dev, which adds pytest and the peers' libraries;
# whatever a user would start runs with this one, so that a package that only the tests have hides no failure.
PYTHON = ROOT / ".venv/bin/python"

# The level of the tests in tests/test_NAME.py, unless a mark on one says otherwise; pyproject.toml says what each is.
LEVELS = {
    "unit": """
        acquisition all_mistakes altered_frames background bad_corrections bit_morphology blank_areas byte_network
        cell_checks cell_list child_process code_digest comparison config config_fuzz coverage crop curate
        curate_answers curate_decisions curation distances divisions divisions_workflow docs doubts edits edits_replay
        edits_results environment errors evaluation even_clumps exposure features fitting flat_field flows
        foreign_arrays formats_deepcell formats_playnano formats_pyama formats_pyme formats_tracks future_dates
        halo_gaps hidden_daughters house images interrupts kinetics left_out levels lif light_in_time likeness
        lock mask_objects merge messages methods missing mitosis movie_czi movie_file movie_nd2 nd2_internals
        ndtiff odd_parts ome_tiff ome_zarr outline phantoms phase_objects pictures plan preview preview_advice
        preview_workflow psf quality recipe repeats report report_digest segmentation shared_regions shifts
        silent_faults simulate stage_movement stage_places store terminal tiff tiff_folder torch_file touching
        tracking uncovered unused_keys userpaths versions white_cells zstacks
    """,
    "slow": """
        benchmarks curate_connections curation_page curation_page_decisions learned onnx_model report_page script_server
    """,
    "workflow": """
        bad_input commands crash fit_workflow formats_corrections inputs_workflow isolation leftovers module
        oracle_tables peers pixel_size_scale provenance pyme_workflow reading register report_workflow reruns
        run_terminal scale slurm times_workflow verify workflow
    """,
    "torture": """
        fuzz
    """,
}

# Tests that take about a second of a processor, all their cases together, in files of level `unit`: they are `slow`.
SLOW = {
    "background": """
        backgrounds_are_found_to_a_count_over_the_whole_frame cells_get_no_light_from_the_skew_of_the_noise
        dim_cells_without_any_mask quantiles_and_centroids_of_tiles_are_exact
    """,
    "blank_areas": "tiles_are_seen_by_their_edges",
    "child_process": "the_answer_is_that_of_the_function a_hang_ends",
    "comparison": "intervals_by_fovs_cover_what_is_true_and_those_by_cells_do_not",
    "config": "any_parameter_value_is_accepted_or_one_line_each",
    "config_fuzz": "every_value_at_every_parameter",
    "curate": "what_is_no_decision_is_refused without_the_token_nothing_is_told_or_saved",
    "curate_decisions": """
        mistakes_are_one_line the_command_prints_its_address_and_the_way_there_over_ssh
        a_decision_without_effect_is_refused_with_a_reason_and_not_saved frames_are_left_out
        old_ways_count_and_edits_over_them a_line_that_a_crash_cut_off_is_told_of_and_does_no_harm
        what_another_person_saves_meanwhile_is_not_overlooked
    """,
    "curation": "the_cell_at_a_place_is_the_nearest_within_three_pixels",
    "divisions": "simulated_movies what_is_no_division",
    "docs": "rooms_stand_in_the_order_in_which_they_import",
    "doubts": """
        tables_of_decisions_that_are_not_read an_onset_after_the_last_frame channels_by_their_names
        datasets_with_times_in_other_units
    """,
    "edits": "no_line_of_json_is_a_traceback",
    "edits_replay": """
        replay_does_what_a_dictionary_does the_order_of_the_lines_does_not_matter_and_undo_gives_the_state_before
        edits_of_several_people_mean_the_same_cells_after_a_new_segmentation
    """,
    "environment": "whatever_a_script_imports_is_there_for_the_user",
    "evaluation": "simulated_sets_hold_their_truth flat_cells_hold_their_truth",
    "even_clumps": "cells_of_a_clump_do_not_vanish_with_it necks_part_regions_as_the_plain_way_parts_them",
    "exposure": "an_exposure_that_changes_and_stays what_is_no_changed_exposure",
    "fitting": "published_kinetics_come_back the_faster_of_two_rates_is_delta",
    "flat_field": """
        a_cell_that_crosses_the_field_keeps_its_light_by_a_picture
        a_cell_that_crosses_the_field_keeps_its_light_by_estimate frames_of_one_brightness_do_not_tell_the_offset
        vignetting_is_a_finding_above_a_tenth without_an_offset_the_estimate_needs_no_changing_background
        a_picture_with_cells_in_it_is_told nothing_is_added_to_a_smooth_field
        steep_rims_and_rings_are_found_where_fovs_agree
    """,
    "flows": """
        flows_of_cells_of_any_shape_give_them_back_in_noise a_model_that_gives_flows_labels_the_cells_whatever_its_tiles
    """,
    "formats_deepcell": "a_project_comes_back_as_it_was a_trk_comes_back_as_it_was",
    "formats_playnano": "memory_does_not_grow_with_the_movie bundles_come_back",
    "formats_pyme": "bad_spools_end_in_one_line other_files_of_this_ending",
    "formats_tracks": "ome_tiff_comes_back geff_comes_back_and_is_zarr",
    "house": "late_imports_are_late nothing_is_defined_twice",
    "images": "metadata_is_valid_ome_ngff",
    "kinetics": "the_kernel_keeps_ten_digits_whatever_the_rates",
    "left_out": "dense_real_cells_are_told",
    "light_in_time": "light_on_its_own_cells light_of_another_fov a_channel_that_is_mirrored_or_turned",
    "likeness": "what_happens_in_one_place",
    "movie_czi": "czi_pixels_come_from_aicspylibczi_and_what_it_cannot_from_pylibczirw",
    "movie_file": "pixels_come_back",
    "odd_parts": "cells_that_go_on a_part_of_another_image",
    "outline": "crowded_cells_outlined_by_hand_are_found flat_cells_in_a_clump_come_apart_at_their_halos",
    "phase_objects": """
        daughters_share_what_their_mother_had divisions_are_looked_for_in_what_a_method_finds
        light_is_that_of_the_cells_and_lasts
    """,
    "pictures": "tables_without_rows_are_drawn traces_with_mean_and_spread distributions_are_of_means_over_time",
    "preview": "cells_in_common_do_not_depend_on_which_is_compared_with_which",
    "preview_workflow": "real_files a_frame_that_turns_out_to_be_missing_is_left_out",
    "report": """
        what_is_not_there_is_shown_and_not_raised the_page_keeps_its_size_and_says_of_how_many_it_shows_how_many
        regions_that_were_left_out_are_said_even_where_no_check_strikes
        the_list_of_cells_is_thinned_out_where_there_is_no_room names_from_files_are_text_and_nothing_else
        the_same_results_give_the_same_bytes_and_no_path nothing_found_is_said_where_nothing_was
    """,
    "segmentation": """
        logstd_gives_the_labels_of_the_plain_way logstd_gives_the_labels_of_the_plain_way_on_any_image
        parameters_mean_what_they_mean_in_the_plain_way logstd_gives_the_labels_of_the_plain_way_on_tiny_images
    """,
    "shifts": "a_field_is_recovered_from_beads pickles_only_on_request what_a_config_may_say_wrong the_json_kind",
    "silent_faults": "a_lamp_that_fades a_fov_that_is_exposed_otherwise",
    "simulate": "the_demo_scripts_find_our_modules_when_started_by_their_path truth_is_what_the_images_hold",
    "stage_movement": """
        a_jump_by_the_distance_of_the_cells_is_found a_jump_is_found_whatever_its_size_and_direction
        another_place_after_the_first_frame another_place_is_a_jump_without_a_size dust_that_stays_hides_no_jump
        movies_with_few_cells pictures_of_any_shape_give_the_displacement_they_have several_and_at_the_ends
        a_single_frame_of_another_place
    """,
    "stage_places": """
        all_cells_keep_their_numbers_through_a_jump no_cell_of_a_grid_goes_on_as_its_neighbour
        without_a_measurement_the_regions_tell_where_they_went cells_that_drift_together_over_dust_that_stays
        of_cells_that_have_nothing_in_common_no_displacement_is_found
        no_cell_of_another_place_gets_a_number_of_those_before
    """,
    "terminal": "a_file_that_is_no_config",
    "tracking": """
        each_cell_is_one_track_between_gaps_longer_than_allowed tracks_are_those_of_the_double_loop what_always_holds
    """,
    "uncovered": "which_cells_lack_light_and_which_are_near_the_edge",
    "unused_keys": "every_parameter_is_in_the_settings_of_a_job_or_said_to_change_nothing",
    "versions": "the_record_names_the_packages_of_every_run requirements_list_what_run_time_imports_and_nothing_else",
    "white_cells": "white_cells_of_real_frames_are_those_of_the_plain_rule",
    "zstacks": "a_plane_that_is_missing",
}


def pytest_collection_modifyitems(items):
    """Give a test that names no level the one of its file, or `slow`; files that run the workflow come first.

    Two processes that take one file after the other are done at the same time if small ones are left for the end.
    """
    level_of = {f"test_{name}.py": level for level, names in LEVELS.items() for name in names.split()}
    for item in items:
        named = any(mark.name in (*LEVELS, "browser") for mark in item.iter_markers())
        if not named and item.path.name in level_of:
            level = level_of[item.path.name]
            item.add_marker("slow" if level == "unit" and is_slow(item) else level)
        if item.get_closest_marker("torture"):
            item.add_marker(pytest.mark.timeout(6 * 3600))  # instead of what pyproject.toml says
    items.sort(key=lambda item: level_of.get(item.path.name) == "unit")


def pytest_ignore_collect(collection_path, config):
    """Let `make test-fast` leave files unread that hold no unit test: what they import takes seconds."""
    name = collection_path.stem.removeprefix("test_")
    level = next((level for level, names in LEVELS.items() if name in names.split()), "unit")
    if config.option.markexpr != "unit" or level == "unit" or collection_path.suffix != ".py":
        return None
    return "mark.unit" not in collection_path.read_text(encoding="utf-8") or None


def is_slow(item):
    """Whether SLOW names a test."""
    return item.originalname.removeprefix("test_") in SLOW.get(item.path.stem.removeprefix("test_"), "").split()


def pytest_runtest_setup(item):
    Checkout.allowed = item.get_closest_marker("unit") is None


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Fail a test that leaves the process in a folder of its own, which is gone then: those after it would fail."""
    try:
        left_in = os.getcwd()
    except FileNotFoundError:
        left_in = "a folder that is gone"
    os.chdir(START)
    assert left_in == START, f"the test leaves the process in {left_in}: monkeypatch.chdir goes back by itself"


@cache
def syntax_tree(source):
    """The parsed Python file at a path, once for all tests of a process."""
    return ast.parse(source.read_text(encoding="utf-8"))


def real_file(name):
    """Path of a real microscopy file; the test skips where it is absent (they are not ours to distribute)."""
    if not (REAL_FILES / name).is_file():
        pytest.skip(f"the real file {name} is not in {REAL_FILES}")
    return REAL_FILES / name


@dataclass
class Outcome:
    """How a run of the workflow ended."""

    code: int
    text: str

    @property
    def jobs(self):
        """How many jobs of each rule, targets left out.

        From the plan that a run prints, "CAUSE: RULE (COUNT), ..." in a line for each cause; where the workflow is a
        module of another, from the table that Snakemake prints.
        """
        table = re.search(r"^job +count\n[- ]+\n(.*?)^total", self.text, re.MULTILINE | re.DOTALL)
        if table:
            rows = re.findall(r"^(\w+) +(\d+)$", table[1], re.MULTILINE)
            return {rule: int(count) for rule, count in rows if rule != "all"}
        plan = re.search(r"^\d+ jobs? (?:would|to) run.*:\n((?:  .*\n)*)", self.text, re.MULTILINE)
        counts = Counter()
        for line in plan[1].splitlines() if plan else ():
            for rule, count in re.findall(r"(\w+) \((\d+)\)", line.rpartition(": ")[2]):
                counts[rule] += int(count)
        return dict(counts)


class Checkout:
    """A copy of the workflow in a folder of its own, with its own results and Snakemake state.

    results: a folder of finished results to begin with, which is copied (`finished_run`).
    """

    allowed = True

    def __init__(self, folder, results=None):
        assert self.allowed, "a test that runs the workflow takes seconds: mark it `workflow`, not `unit`"
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                # With what Python has compiled, as by `make setup`; not what it writes just now, in another process.
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("*.pyc.*"))
            else:
                shutil.copy(source, folder / part)
        if results:
            shutil.copytree(results, folder / "results")

    def configure(self, config, name="my.yaml"):
        (self.folder / name).write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return name

    def run(self, config, *arguments, name="my.yaml", cores=2, python=PYTHON):
        """Run `snakemake --cores N --configfile FILE`; `config` None leaves the file as it is."""
        if config is not None:
            self.configure(config, name)
        return self.run_named([python, "-m", "snakemake", "--cores", str(cores), *arguments, "--configfile", name])

    def run_named(self, words):
        """Run the words of a command `PYTHON -m snakemake ...`, as a run names it for what to do next."""
        python, *module = words[:3]
        assert module == ["-m", "snakemake"]
        done = run_snakemake(python, words[3:], self.folder)
        return Outcome(done.returncode, done.stdout + done.stderr)

    def planned(self, config):
        """Jobs that a run with this config would do, by rule."""
        outcome = self.run(config, "-n")
        assert outcome.code == 0, outcome.text
        return outcome.jobs


@contextmanager
def made_once(tmp_path_factory, name):
    """A folder that all processes of the tests have in common, and whether it is still to be filled, by this one."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= name
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, not folder.with_suffix(".done").exists()
        folder.with_suffix(".done").touch()


@pytest.fixture(scope="session")
def experiment():
    """A simulated experiment that is quick to process: 2 FOVs x 8 frames x 160 x 192."""
    from demo.simulate import simulate

    return simulate(n_fovs=2, n_frames=8, height=160, width=192, n_cells=6, seed=3)


@pytest.fixture(scope="session")
def movies(experiment, tmp_path_factory):
    """Folder with the experiment as small.nd2 and small.czi."""
    from demo.make_demo import write_experiment

    with made_once(tmp_path_factory, "movies") as (folder, to_fill):
        if to_fill:
            folder.mkdir()
            write_experiment(folder, experiment, "small")
    return folder


def _finished_results(tmp_path_factory, name, config):
    with made_once(tmp_path_factory, name) as (folder, to_fill):
        if to_fill:
            outcome = Checkout(folder).run(config)
            assert outcome.code == 0, outcome.text
    return folder / "results"


@pytest.fixture(scope="session")
def finished_run(movies, tmp_path_factory):
    """Results of `small_config(movies)`, made once for all tests: to be read, or copied by `Checkout`."""
    return _finished_results(tmp_path_factory, "finished_run", small_config(movies))


@pytest.fixture(scope="session")
def finished_fov(movies, tmp_path_factory):
    """As `finished_run`, of FOV 0 alone."""
    return _finished_results(tmp_path_factory, "finished_fov", small_config(movies, fovs="0"))


def small_config(movies, **changes):
    """A config for the small experiment; `changes` replace top-level keys, and update `params`."""
    params = {"min_frames": 3, "border_margin": 5, **changes.pop("params", {})}
    return {
        "datasets": {"small": str(movies / "small.nd2")},
        "channels": {
            "pc": {"channel": 0, "features": ["area", "aspect_ratio"]},
            "fl": [
                {"channel": 1, "features": ["intensity_total", "intensity_mean"]},
                {"channel": 2, "features": ["intensity_total", "particle_num"]},
            ],
        },
        **changes,
        "params": params,
    }
