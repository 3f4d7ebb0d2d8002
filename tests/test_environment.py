"""The ways to install say the same: pip pins, conda environment, the rules that name it."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def pins(name):
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))


def wanted(name):
    lines = (ROOT / name).read_text().splitlines()
    return [re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in lines if line and line[0] not in "#-"]


def test_conda_environment_has_the_versions_of_the_pip_pins():
    content = yaml.safe_load((ROOT / "envs/pyama.yaml").read_text())
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    versions = dict(re.split(r" ?==", entry.lower()) for entry in [*conda, *pip] if "==" in entry)
    locked = pins("requirements.txt")
    assert versions == {name: locked[name] for name in wanted("requirements.in")}


def test_test_pins_agree_with_run_time_pins():
    locked, test = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: version for name, version in test.items() if name in locked} == {
        name: locked[name] for name in test if name in locked
    }
    assert set(wanted("requirements-dev.in")) <= set(test)


def test_every_pin_has_hashes_and_no_host_is_named():
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
            assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_every_rule_names_a_script_an_environment_and_its_costs():
    rules = list((ROOT / "rules").glob("*.smk"))
    assert len(rules) > 5
    for rule in rules:
        if rule.name == "common.smk":
            continue
        text = rule.read_text()
        for word in ("log:", "benchmark:", "threads:", "mem_mb=", "runtime=", "conda:", "message:", "script:"):
            assert word in text or (rule.name, word) == ("verify.smk", "benchmark:"), f"{rule.name}: {word}"
        for kind, place in re.findall(r'(conda|script):\s+"\.\./(.+)"', text):
            assert (ROOT / place).is_file(), f"{rule.name}: {kind} {place}"
