"""Comparing the results of two runs byte for byte."""


def results_of(folder):
    """Every file of the results by name, without what may differ: logs, benchmarks, locks, time stamps of the input."""
    left_out = ("logs/", "benchmarks/")
    return {
        name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and not (name := path.relative_to(folder).as_posix()).startswith(left_out)
        and path.name not in (".lock", ".jobs", ".movie.json", ".last_run.json", ".snakemake_timestamp")
    }


def assert_same(results, expected):
    """Both have the same files, and no byte differs."""
    assert sorted(results) == sorted(expected)
    different = [name for name in expected if results[name] != expected[name]]
    assert not different, different  # pytest does not explain what fails here
