"""What a run says on the terminal: what is in the files, what runs and why, how far it is, what came out."""

import io
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, small_config
from process_tools import hearing_ctrl_c

from celltraces.config.check_file import read_config_file, refuse_no_cache
from celltraces.config.read_config import as_in_a_file, complete
from celltraces.config.selection import expand_fovs, spell_fovs
from celltraces.errors import UserError
from celltraces.paths import LAST_RUN
from celltraces.planning import snakemake_internals as internals
from celltraces.planning import snakemake_messages as messages
from celltraces.planning.command_line import command, with_target
from celltraces.planning.end_of_run import curate_command, target_lines
from celltraces.planning.experiment import plan_experiment
from celltraces.planning.input_summary import input_lines
from celltraces.planning.reasons import PlannedJob, plan_lines, worded
from celltraces.runs import interrupts, last_run
from celltraces.runs.job import SAID_BY_RUN, abridged
from celltraces.runs.progress import Job, Progress, seconds_left, status, time_to_come, took

# ------------------------------------------------------------------------------------------------- what is in the files


def test_frames_that_a_file_lacks_are_told_before_a_run(movies, monkeypatch):
    experiment = plan_experiment(small_config(movies))
    known = experiment.datasets["small"]

    def lines(**missing):
        places = [{**place, "missing": missing.get(f"fov{at}", [])} for at, place in enumerate(known.movie.fovs)]
        dataset = replace(known, movie=replace(known.movie, fovs=places))
        return [line for line in input_lines(experiment.config, {"small": dataset}) if "not in the file" in line]

    assert lines() == lines(fov0=[[3, 9]]) == []  # a channel that is not used
    (line,) = lines(fov0=[[6, 0], [7, 0], [7, 1], [2, 2]], fov1=[[frame, 0] for frame in range(8)])
    assert line == "  frames not in the file, in a channel that is used: 2, 6-7 of FOV 0, all of FOV 1"


def test_what_is_in_a_file(movies):
    config = small_config(movies, fovs="1", channels={"pc": {"channel": 0}, "fl": [{"channel": 2}]})
    experiment = plan_experiment(config)
    head, *lines = input_lines(experiment.config, experiment.datasets)
    path = movies / "small.nd2"
    assert re.fullmatch(rf"small: {re.escape(str(path))} \(ND2, [\d.]+ [kM]B\)", head)
    assert lines == [
        "  2 FOVs (processed: 1) of 192 x 160 px, uint16",
        "  8 frames, every 10 min, 70 min in all; times from the file's time stamps",
        "  pixel size: 0.65 um, from the file",
        "  channels: 0 Phase contrast (pc), 1 GFP (not used), 2 mCherry (fl)",
    ]


def test_what_a_file_does_not_say(movies):
    experiment = plan_experiment(small_config(movies))
    known = experiment.datasets["small"]
    fovs = [{**fov, "times_min": None} for fov in known.movie.fovs]
    fovs[1] |= {"width": 256, "height": 256}
    movie = replace(known.movie, pixel_size_um=None, period_min=None, n_frames=1, n_z=3, fovs=fovs)

    def lines(**changes):
        config = {**experiment.config, "params": {**experiment.config["params"], **changes}}
        dataset = replace(known, movie=movie if "time_mapping" not in changes else replace(movie, n_frames=3))
        return list(input_lines(config, {"small": dataset}))[1:4]

    assert lines() == [
        "  2 FOVs of 192 x 160 to 256 x 256 px, uint16, 3 z planes",
        "  1 frame",
        "  pixel size: the file does not say; give params.pixel_size_um to have scale bars and um",
    ]
    assert lines(time_mapping={"0": 0, "1": 0.5, "2": 300}, pixel_size_um=0.5)[1:] == [
        "  3 frames, every 2.5 h (30 s to 4.99 h), 5 h in all; times from time_mapping of the config",
        "  pixel size: 0.5 um, pixel_size_um of the config",
    ]


@pytest.mark.parametrize("fovs", [[], [0], [0, 1], [3, 4, 5, 9], [0, 2, 4], list(range(100))])
def test_fovs_as_a_person_writes_them(fovs):
    text = spell_fovs(fovs)
    assert (expand_fovs(text, 100, "fovs") if text else []) == fovs
    assert text.count("-") <= 1


# ------------------------------------------------------------------------------------------------ what runs, and why


def test_a_line_for_each_cause():
    stages = ["copy", "segment", "track", "extract", "merge", "qc", "record", "report"]
    jobs = [
        PlannedJob("extract", ("border_margin 50 -> 20",), ()),
        PlannedJob("extract", ("border_margin 50 -> 20",), ()),
        PlannedJob("merge", (), (0, 1)),
        PlannedJob("track", ("min_iou 0.1 -> 0.2",), ()),
        PlannedJob("qc", (), (2, 3)),
        PlannedJob("copy", (), ()),
        PlannedJob("record", ("processing_config.yaml says something else",), ()),
        PlannedJob("report", (), (2, 6)),
    ]
    assert plan_lines(jobs, stages) == [
        "needed for what follows: copy (1)",
        "min_iou 0.1 -> 0.2: track (1)",
        "border_margin 50 -> 20: extract (2), merge (1), report (1)",
        "border_margin 50 -> 20, min_iou 0.1 -> 0.2: qc (1)",
        "processing_config.yaml says something else: record (1)",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("border_margin: 50 -> 20", "border_margin 50 -> 20"),
        ("min_size: None -> 30", "min_size null -> 30"),
        ("split_touching: True -> False", "split_touching true -> false"),
        ("light_margin: - -> 0", "light_margin not there -> 0"),
        ("code: 0123 -> 4567", "the code of the workflow changed"),
        ("raw: <01> -> <23>", "the content of the input file changed"),
        ("scales: sha256:01 -> sha256:23", "scales changed"),
        (f"chosen: {['area'] * 20} -> []", "chosen changed"),
        ("segmentation_method: <01>:f -> logstd", "segmentation_method changed"),
    ],
)
def test_changes_in_words(change, said):
    assert worded(change) == said


# --------------------------------------------------------------------------------------------------- how far a run is

JOBS = {number: Job("copy" if number < 3 else "track", ("a", f"{number % 3:03d}")) for number in range(6)}


def test_the_line():
    assert status(JOBS, {0, 3, 1}, 0, 45.0, None) == "3/6 50 % . FOVs 1/3 . 0 failed . about 45 s left"
    assert status(JOBS, set(), 2, None, None) == "0/6 0 % . FOVs 0/3 . 2 failed"
    assert status({0: Job("qc", None)}, {0}, 0, None, None) == "1/1 100 % . 0 failed"
    many = {number: Job("copy", None) for number in range(1000)}
    assert status(many, set(range(999)), 0, None, None).startswith("999/1000 99 %")


def test_the_line_is_never_wider_than_the_terminal():
    many = {number: Job("copy", ("a", str(number))) for number in range(1234)}
    for width in range(3, 80):
        line = status(many, set(range(100)), 13, 123456.0, width)
        assert len(line) <= width
        assert line.startswith("8 %"[:width]) or "8 %" in line
        assert ("13 failed" in line) or width < 30


def test_time_left_on_average_of_the_stages():
    # Two at once for 10 s: two copies of 4 s, two tracks of 6 s; a copy and a track are left, 10 s of work for two.
    jobs = {**{n: Job("copy", None) for n in range(3)}, **{n: Job("track", None) for n in range(3, 6)}}
    done = {0: 4.0, 1: 4.0, 3: 6.0, 4: 6.0}
    assert seconds_left(jobs, {}, done, 10.0, 10.0) == pytest.approx(5.0)
    # The copy has run for 3 s of its 4 s, and counts as work done as well.
    assert seconds_left(jobs, {2: 7.0}, done, 10.0, 10.0) == pytest.approx(7.0 / 2.3)
    assert seconds_left(jobs, {}, {0: 4.0, 1: 4.0}, 10.0, 10.0) is None
    assert seconds_left(jobs, {}, dict.fromkeys(jobs, 4.0), 10.0, 10.0) is None
    # A stage of which none is done takes as long as all on average.
    assert seconds_left({**jobs, 6: Job("fit", None)}, {}, {**done, 2: 4.0, 5: 6.0}, 15.0, 15.0) == pytest.approx(2.5)


def test_time_left_comes_true_in_a_run_of_equal_jobs():
    jobs = {number: Job("copy", None) for number in range(100)}
    for n_done in range(10, 100, 2):
        elapsed = n_done / 2 * 3.0  # two at once, 3 s each
        left = seconds_left(jobs, {}, dict.fromkeys(range(n_done), 3.0), elapsed, elapsed)
        assert left == pytest.approx((100 - n_done) / 2 * 3.0)


def test_durations():
    assert [time_to_come(s) for s in (1, 7, 44, 59, 200, 3600, 4800, 200_000)] == [
        "a few s",
        *(f"about {time}" for time in ("5 s", "45 s", "1 min", "3 min", "1 h", "1 h 20 min", "2 days 8 h")),
    ]
    assert [took(s) for s in (0.4, 59.4, 72, 3599, 12_060)] == [
        "0 s",
        "59 s",
        "1 min 12 s",
        "59 min 59 s",
        "3 h 21 min",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen(text):
    """What stands on a terminal in the end, without spaces at the ends of lines."""
    lines, column = [""], 0
    for letter in text:
        if letter == "\n":
            lines.append("")
            column = 0
        elif letter == "\r":
            column = 0
        else:
            lines[-1] = lines[-1][:column].ljust(column) + letter + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def test_lines_stand_above_the_one_that_is_updated(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    now = [0.0]
    stream = Terminal()
    progress = Progress(stream, clock=lambda: now[0])
    progress.begin(JOBS)
    for number in JOBS:
        progress.job_started(number)
        now[0] += 1
        if number == 4:
            progress.job_failed(number)
            progress.say("failed: track: a, FOV 001")
        else:
            progress.job_finished(number)
    assert screen(stream.getvalue()) == ["failed: track: a, FOV 001", "5/6 83 % . FOVs 2/3 . 1 failed"]
    progress.job_started(4)  # again, and well this time
    progress.job_finished(4)
    assert "6/6 100 % . FOVs 3/3 . 0 failed" in screen(stream.getvalue())[-1]
    progress.end()
    assert screen(stream.getvalue()) == ["failed: track: a, FOV 001", ""]
    progress.job_finished(4)
    assert screen(stream.getvalue())[-1] == ""


def test_a_log_has_no_line_that_is_updated():
    stream = io.StringIO()
    progress = Progress(stream)
    progress.begin(JOBS)
    progress.job_started(0)
    progress.job_finished(0)
    progress.say("a warning")
    progress.end()
    assert stream.getvalue() == "a warning\n"


# --------------------------------------------------------------------------------- in the place of Snakemake's messages


class Ordinary(logging.Handler):
    """What Snakemake would print."""

    name = messages.ORDINARY

    def __init__(self):
        super().__init__()
        self.printed = []

    def emit(self, record):
        self.printed.append(record.getMessage())


class Listening:
    """Notes what it is told; an `unheard` message raises."""

    def __init__(self, unheard=()):
        self.told, self.unheard = [], unheard

    def __getattr__(self, name):
        def tell(*arguments):
            if name in self.unheard:
                raise AttributeError(name)
            self.told.append((name, *arguments))

        return tell


@pytest.fixture
def ordinary(monkeypatch):
    """Snakemake's logger with the handler that prints, and with the environment as it is for a run."""
    from snakemake.logging import logger

    handler = Ordinary()
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setenv(SAID_BY_RUN, "")
    return handler


def a_workflow(**settings):
    return SimpleNamespace(output_settings=SimpleNamespace(**{"verbose": False, "debug_dag": False, **settings}))


def test_messages_that_mean_something(ordinary):
    from snakemake.logging import logger

    listening = Listening()
    messages.show_on(a_workflow(), listening)
    logger.info("Select jobs to execute...")
    logger.info("", extra={"event": "job_info", "jobid": 3})
    logger.info("", extra={"event": "job_finished", "job_id": 3})
    failed = {"event": "job_error", "indent": False, "rule_name": "copy"}
    logger.error("", extra={**failed, "jobid": 4, "rule_msg": "status: TIMEOUT"})
    logger.error("RuleException: Command 'python x' returned non-zero exit status 1.", extra={"event": "error"})
    group = [{"rule_name": "copy", "jobid": 5}, {"rule_name": "track", "jobid": 6}]
    logger.error("", extra={"event": "group_error", "job_error_info": group})
    logger.error("", extra={**failed, "jobid": 5, "indent": True, "rule_msg": None})
    logger.warning("the clock is wrong")
    logger.error("MissingInputException: no such file", extra={"event": "error"})
    logger.info("Nothing to be done (all requested files are present and up to date).")
    assert listening.told == [
        ("started", 3),
        ("finished", 3),
        ("failed", [4], "status: TIMEOUT"),
        ("failed", [5, 6], "one of copy, track, and no log says why"),
        ("say", "the clock is wrong"),
        ("say", "MissingInputException: no such file"),
        ("nothing",),
    ]
    assert ordinary.printed == []


def test_a_snakemake_that_is_not_understood_prints_its_own_lines(ordinary):
    from snakemake.logging import logger

    messages.show_on(a_workflow(), Listening(unheard=["started"]))
    assert os.environ[SAID_BY_RUN]
    logger.info("before")
    logger.info("a job", extra={"event": "job_info", "jobid": 3})
    logger.info("after")
    assert ordinary.printed == ["a job", "after"]
    assert not os.environ.get(SAID_BY_RUN)


@pytest.mark.parametrize("setting", ["verbose", "debug_dag"])
def test_whoever_asks_for_snakemakes_lines_gets_them(ordinary, setting):
    from snakemake.logging import logger

    messages.show_on(a_workflow(**{setting: True}), Listening())
    assert logger.handlers == [ordinary]


# ------------------------------------------------------------------------------------------------------ what came out


def test_files_of_targets_by_kind():
    movies = [f"results/a/fov_{fov:03d}/a_fov_{fov:03d}_overlay.gif" for fov in range(3)]
    plots = ["results/a/pictures/cells.png", "results/a/pictures/cells.pdf", "results/a/pictures/traces.png"]
    assert list(target_lines({"pictures": [*movies, *plots], "ctc": ["results/a/fov_000/exports/ctc"]})) == [
        "pictures: results/a/fov_*/*.gif (3), results/a/pictures/*.png (2), results/a/pictures/cells.pdf",
        "ctc: results/a/fov_000/exports/ctc",
    ]


def test_the_curation_page_is_named_as_it_is_opened_from_here(tmp_path, monkeypatch):
    clone = tmp_path / "the clone"
    (clone / ".venv").mkdir(parents=True)
    monkeypatch.chdir(clone)
    script = f"'{clone}/scripts/curate.py'"
    python = shlex.quote(f"{sys.prefix}/bin/python")  # the folder of these tests may have a space in its name as well
    assert curate_command(Path("results"), clone) == f"{python} {script} results"
    (clone / "Makefile").touch()
    (clone / ".venv/.done").touch()
    assert curate_command(Path("my results"), clone) == "make curate 'RESULTS=my results'"
    monkeypatch.chdir(tmp_path)
    command_from_here = ["make", "-C", str(clone), "curate", f"RESULTS={tmp_path}/results"]
    assert curate_command(Path("results"), clone) == shlex.join(command_from_here)


def test_the_note_of_the_last_run(tmp_path):
    assert last_run.read(tmp_path) is None
    files = [Path("config/config.yaml"), "/data/my.yaml", "/data/my.yaml"]
    last_run.write(tmp_path, files, ["snakemake", "--configfile", "my.yaml"], Path("/work/here"))
    noted = last_run.read(tmp_path)
    assert noted.config_files == ("/work/here/config/config.yaml", "/data/my.yaml")
    assert noted.line() == "cd /work/here && snakemake --configfile my.yaml"
    (tmp_path / LAST_RUN).write_text("{")
    assert last_run.read(tmp_path) is None
    last_run.write(tmp_path / LAST_RUN / "below a file", files, [], Path("/"))  # no fault


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows")
def test_ctrl_c_before_jobs_and_after():
    """In a process of its own: one line before any job, the usual exception where jobs run, nothing at the end."""
    steps = {
        "end_in_one_line": (1, interrupts.STOPPED),
        "allow": (-signal.SIGINT, "KeyboardInterrupt"),
        "ignore": (0, ""),
    }
    for step, (code, said) in steps.items():
        program = (
            "import os, signal, sys; from celltraces.runs import interrupts; sys.argv[0] = '.venv/bin/snakemake'; "
        )
        program += f"interrupts.{step}(); os.kill(os.getpid(), signal.SIGINT)"
        with hearing_ctrl_c():
            done = subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
            )
        assert done.returncode == code
        assert done.stderr.splitlines()[-1:] == ([said] if said else [])


@pytest.mark.parametrize(
    ("raised", "caught", "said"),
    [
        (
            PermissionError(13, "Permission denied", "results/logs/x.log"),
            SystemExit,
            "results/logs/x.log: Permission denied;",
        ),
        (KeyboardInterrupt(), SystemExit, "Stopped before any job began."),
        (OSError("of no file"), OSError, "of no file"),
    ],
)
def test_what_ends_a_run_from_outside_is_one_line(monkeypatch, raised, caught, said):
    answers = []
    monkeypatch.setattr(interrupts, "allow", lambda: answers.append("allow"))
    monkeypatch.setattr(interrupts, "ignore", lambda: answers.append("ignore"))

    def execute(**_):
        answers.append("execute")
        raise raised

    workflow = SimpleNamespace(is_main_process=True, execute=execute)
    prepare, rehearse = (lambda: answers.append("prepare")), (lambda: answers.append("rehearse"))
    internals.before_execution(workflow, prepare, rehearse, lambda: interrupts.STOPPED)
    plugin = SimpleNamespace(common_settings=SimpleNamespace(dryrun_exec=False))
    with pytest.raises(caught, match=f"^{re.escape(said)}") as ended:
        workflow.execute(executor_plugin=plugin)
    assert "\n" not in str(ended.value)
    assert answers == ["prepare", "allow", "execute", "ignore"]


def test_a_command_with_a_target_more():
    assert with_target(["snakemake", "--configfile", "my data.yaml"], "pictures") == (
        "snakemake pictures --configfile 'my data.yaml'"
    )
    assert with_target(["python", "-m", "snakemake", "-c2"], "pictures") == "python -m snakemake pictures -c2"


def test_the_command_names_the_interpreter_as_it_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/env/lib/snakemake/__main__.py", "--cores", "2"])
    monkeypatch.setattr(sys, "orig_argv", ["../env/bin/python", "-m", "snakemake", "--cores", "2"])
    assert command() == ["../env/bin/python", "-m", "snakemake", "--cores", "2"]


def test_logs_hold_the_first_and_last_of_long_lists():
    assert abridged({"times": list(range(36)), "fovs": [1, 2]}) == {
        "times": [0, 1, 2, "... 32 more ...", 35],
        "fovs": [1, 2],
    }


# ------------------------------------------------------------------------------------ a file that is no config at all


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (b'datasets: {a: "C:\\Users\\x.nd2"}\n', "line 1, column 20", "a backslash in double quotes"),
        (b"datasets:\n\ta: x\n", "line 2, column 1", "a tab"),
        (b"datasets:\n  a: x\n b: y\n", "line 3, column 2", "an indent that fits no line above"),
        (b"datasets:\n  a: x\n   b: y\n", "line 3, column 5", "a colon where none can stand"),
        (b"datasets: {a: x\nchannels: {}\n", "line 2, column 9", "a bracket or brace that is not closed"),
        (b"datasets: {a: 'x}\nchannels: {}\n", "line 1, column 15", "a quote that is not closed"),
        (b"a: [1, 2\n", "line 1, column 4", "a bracket or brace that is not closed"),
        (b"a: %x\n", "line 1, column 4", "put the text in quotes"),
        (b"a: *b\n", "line 1, column 4", "put this text in quotes"),
        (b"a: \x01\n", "line 1, column 4", "a character that YAML does not allow"),
        (b"a: !!python/name:os.system x", "line 1, column 4", "put this text in quotes"),
        ("a: b\nname: ä\n".encode("latin-1"), "line 2, column 7", "save the file as UTF-8"),
        ("datasets: {}".encode("utf-16"), "UTF-16", "save it as UTF-8"),
        ("datasets: {}".encode("utf-16-le"), "", "save it as UTF-8"),
        (b"", "is empty", "a config has keys"),
        (b"- a\n", "holds a list", "a config has keys"),
        (b"[" * 2000, "", "too deeply nested"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, content, place, said):
    file = tmp_path / "my.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_config_file(file)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert place in str(caught.value)
    assert said in str(caught.value)


def test_a_config_that_is_not_there(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xef\xbb\xbfa: b\n")
    assert read_config_file(tmp_path / "mine.yaml") == {"a": "b"}
    with pytest.raises(UserError, match="there is no such file; there are mine.yaml"):
        read_config_file(tmp_path / "my.yaml")
    with pytest.raises(UserError, match="is a folder"):
        read_config_file(tmp_path)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    """Before it reads the workflow Snakemake makes a folder there, and ends with a traceback where it cannot."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a/b"))
    refuse_no_cache()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "access", lambda folder, _: Path(folder) != tmp_path)
    with pytest.raises(UserError, match=r"a/b cannot be written, .*; set XDG_CACHE_HOME to a folder"):
        refuse_no_cache()


def test_what_the_command_gives_in_braces_means_what_it_means_in_a_file():
    """Snakemake reads all that stands in braces or brackets as text."""
    from snakemake.cli import parse_config
    from snakemake.utils import update_config

    of_file = {"datasets": {"a": "x"}, "channels": {"pc": {"channel": 0}}, "params": {"min_frames": 7, "min_iou": 0.2}}
    given = [
        "params={border_margin: 20, min_iou: 1e-1, divisions: false, flood: '3'}",
        "fovs=[0, 2-3]",
        "output_dir=there",
    ]
    of_command = parse_config([*given, "samples=[{name: no, fovs: 1-2}]"])
    merged = {**of_file, "params": {**of_file["params"]}}
    update_config(merged, of_command)
    assert as_in_a_file(merged, of_command) == {
        **of_file,
        "params": {"min_frames": 7, "border_margin": 20, "min_iou": "1e-1", "divisions": False, "flood": 3},
        "fovs": [0, "2-3"],
        "output_dir": "there",
        "samples": [{"name": False, "fovs": "1-2"}],
    }
    assert as_in_a_file(of_file, {"celltraces": {"fovs": ["1"]}}) == of_file  # of a module's own config


def test_a_decimal_comma_in_braces_is_two_keys(tmp_path):
    (tmp_path / "my.yaml").write_text("datasets: {a: x}\nchannels: {pc: {channel: 0}}\nparams: {min_iou: 0,1}\n")
    with pytest.raises(UserError, match="a decimal comma"):
        complete(read_config_file(tmp_path / "my.yaml"))
