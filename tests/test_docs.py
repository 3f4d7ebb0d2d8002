"""What README and docs name is there: links, files, keys, parameters, rules, checks, rooms; and none is left out."""

import ast
import csv
import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, syntax_tree

from celltraces.config.contradictions import METHODS
from celltraces.config.read_config import complete
from celltraces.config.schema import load_schema
from celltraces.errors import UserError
from celltraces.exports.registry import FORMATS, GROUPS, TITLES
from celltraces.features.cell_features import FLUORESCENCE_FEATURES, PHASE_FEATURES
from celltraces.pictures.legend import unit_of
from celltraces.readers.magic import KINDS, MAKER
from celltraces.readers.movie_file import READERS
from celltraces.report.texts import CHECKS

PACKAGE = ROOT / "scripts/celltraces"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "config/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
PARAMETERS = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
FOLDERS = ("benchmarks", "config", "docs", "envs", "profiles", "rules", "scripts", "tests")
OLD_RELEASE = "envs/pyama.yaml"  # named by CHANGELOG.md, since it is there no longer
OF_USERS = ("my_", "path/to/", "plugins/")  # how the pages call files that users write
NO_CONFIG = ("default-resources", "jobs", "executor", "good")  # keys of Snakemake's profiles; a column of a table
CONFIG = {"datasets": {"monday": "monday.nd2"}, "channels": {"pc": {"channel": 0}, "fl": [{"channel": 1}]}}


def prose(page):
    """The page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """The headings of a page as GitHub spells them in links."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(text, heading):
    """What stands between a heading and the next one of its level."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def named_files(text):
    """Files and folders of this repository between backticks, without a function behind a colon."""
    for span in re.findall(r"(?<!`)`([^`\s]+)`(?!`)", text):
        path = re.sub(r"(?<=\.py):\w+$", "", span)
        below = path.split("/")[0] in FOLDERS and "/" in path
        if (below or path.endswith((".py", ".smk"))) and not path.startswith(OF_USERS) and path != OLD_RELEASE:
            yield path


def found(path):
    """Files and folders that a page may mean: from the top of the repository, or below scripts/celltraces."""
    return [place for base in (ROOT, PACKAGE) for place in base.glob(path.rstrip("/"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        file, _, anchor = link.partition("#")
        if file.startswith("https://"):
            continue
        place = (page.parent / file).resolve() if file else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_no_two_headings_of_a_page_have_one_anchor(page):
    assert len(re.findall(r"^#+ ", prose(page), re.MULTILINE)) == len(anchors(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_files_are_there(page):
    assert [path for path in named_files(prose(page)) if not found(path)] == []


def test_a_file_that_is_named_is_looked_for():
    text = (
        "`scripts/none.py`, `docs/none.md`, `readers/none.py:read`, `x.smk`; `my_x.py:f`, `results/x.csv`, `a b/c.py`"
    )
    assert list(named_files(text)) == ["scripts/none.py", "docs/none.md", "readers/none.py", "x.smk"]
    assert not any(map(found, named_files(text)))
    assert found("rules/*.smk")


def configs_of(text):
    """What a page writes of a config, in blocks of YAML and as `key: value`, each as a dict."""
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *```\w*\n.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [span for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text) if re.match(r"[a-z_0-9]+: [^ ]", span)]
    examples = [yaml.safe_load(example) for example in [*blocks, *spans]]
    return [example for example in examples if not set(example) <= set(NO_CONFIG)]


def completed(example):
    """A whole config with what an example sets: keys of the top, and keys of a part of it without that part's name."""
    schema = load_schema()["properties"]
    config = dict(CONFIG)
    for key, value in example.items():
        if key == "features":
            key, value = "channels", {"pc": {"channel": 0, key: value}}
        elif key == "fl" and isinstance(value, list):
            key, value = "channels", {key: value}
        elif key == "model":
            key, value = "fits", [{"channel": 1, "feature": "intensity_total", key: value}]
        parts = [part for part in ("params", "pictures", "report") if key in schema[part]["properties"]]
        if key not in schema and parts:
            key, value = parts[0], {**config.get(parts[0], {}), key: value}
        config[key] = value
    return config


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_what_a_page_writes_of_a_config_is_allowed(page):
    for example in configs_of(page.read_text(encoding="utf-8")):
        try:
            complete(completed(example))
        except UserError as error:  # files of users are not here
            assert re.search(r"the file '.*' (does not exist|cannot be read)", str(error)), example


def test_a_slip_in_an_example_is_found():
    text = "`min_frames: 1`, `x.y`, `jobs: 3`\n```yaml\nparams: {min_frame: 1}\n```\n`min_iou: 2` `features: area`\n"
    good, *wrong = sorted(configs_of(text), key=lambda example: "min_frames" not in example)
    complete(completed(good))
    assert len(wrong) == 3
    for example in wrong:
        with pytest.raises(UserError):
            complete(completed(example))


def test_every_page_is_in_the_menu_of_the_site():
    tree = ast.parse((ROOT / "docs/conf.py").read_text(encoding="utf-8"))
    menu = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "MENU")
    named = [name for names in ast.literal_eval(menu).values() for name in names.split()]
    assert sorted(named) == sorted(page.stem for page in ROOT.glob("docs/*.md"))


def test_every_page_can_be_reached_from_readme():
    linked = {link.split("#")[0] for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", prose(page))}
    names = {Path(link).name for link in linked}
    assert [page.name for page in PAGES if page.name not in names] == []


def test_the_table_names_every_parameter():
    schema = load_schema()["properties"]
    parts = ("params", "pictures", "report")
    parameters = {name for name in schema if name not in parts}.union(*(schema[part]["properties"] for part in parts))
    unnamed = sorted(name for name in parameters if f"`{name}`" not in PARAMETERS)
    assert unnamed == [], "name them in docs/parameters.md, in the row of their stage"


def test_config_yaml_names_every_key():
    def keys(rule, value, at=""):
        for name, declared in rule.get("properties", {}).items():
            yield f"{at}{name}", isinstance(value, dict) and name in value
            yield from keys(declared, value.get(name) if isinstance(value, dict) else None, f"{at}{name}.")

    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    # The parameters that a preview may vary are an example in a comment.
    absent = [k for k, there in keys(load_schema(), shipped) if not there and not k.startswith("preview.vary.")]
    assert absent == [], "give each a line in config/config.yaml: default, unit, range, what it does"


def test_rules_in_the_table_of_parameters_are_rules():
    rules = {
        name
        for file in [ROOT / "Snakefile", *ROOT.glob("rules/*.smk")]
        for name in re.findall(r"^ *rule (\w+):", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    rows = re.findall(r"^\|[^|]+\|([^|]+)\|", PARAMETERS, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named - rules == set()
    # Targets that only gather, the record of a run, and what other pages name as commands.
    assert rules - named == {"all", "preview", "pictures", "record", "verify", "set_aside"}


def checks():
    """The names of all checks, from the code that makes rows of qc.csv; without the channel behind them."""
    names = set()
    for file in (
        *(PACKAGE / f"results/{name}.py" for name in ("quality", "cell_checks", "time_checks")),
        ROOT / "scripts/check_quality.py",
    ):
        for node in ast.walk(syntax_tree(file)):
            value = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                at = {"Finding": 2, "_far_from_neighbours": 1}.get(node.func.id)
                value = node.args[at] if at is not None and len(node.args) > at else None
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "check":
                value = node.value
            elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                value = node.value.elts[0]
            if isinstance(value, ast.JoinedStr):
                value = value.values[0]
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                names.add(value.value.removesuffix("_ch_").removesuffix("_"))
    return names


def test_every_check_is_explained_in_docs_and_on_the_page():
    assert {"missing", "stage_shift", "time_assumed", "failed", "below_background", "uncovered"} <= checks()
    assert set(CHECKS) == checks()
    table = section((ROOT / "docs/checks.md").read_text(encoding="utf-8"), "Checks of quality")
    rows = "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    named = {name.removesuffix("_*") for name in re.findall(r"`([\w*]+)`", rows)}
    assert named == checks()


def table(page, heading):
    """The rows of the table in a section of a page of docs, below its head, as lists of cells."""
    lines = section((ROOT / "docs" / page).read_text(encoding="utf-8"), heading).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


def test_every_feature_is_defined():
    rows = table("methods.md", "Features")
    shape, light = ([f"`{name}`" for name in names] for names in (PHASE_FEATURES, FLUORESCENCE_FEATURES))
    assert [row[0] for row in rows if row[1] == "shape"] == shape, "the table in docs/methods.md, in the same order"
    assert [row[0] for row in rows if row[1] == "light"] == light, "the table in docs/methods.md, in the same order"
    assert all(row[3] for row in rows)
    with_unit = [row[0].strip("`") for row in rows if "px" in row[2] or row[2] == "counts"]
    unshown = [name for name in with_unit if not unit_of(f"{name}_ch_0")]
    assert unshown == [], "their unit has to stand in pictures/legend.py too, for reports and plots"


def test_every_method_has_a_row():
    page = (ROOT / "docs/choosing.md").read_text(encoding="utf-8")
    named = [method for methods in METHODS.values() for method in methods]
    assert "btrack" in named
    assert [method for method in named if f"`{method}`" not in page] == [], "give them a row in docs/choosing.md"


def test_every_kind_of_input_is_opened_and_named():
    kinds = {*KINDS.values()} - {"PYME"}  # movie_file.py opens a spool itself, since that takes settings
    assert kinds <= READERS.keys(), "READERS in readers/movie_file.py"
    assert MAKER.keys() == {*READERS, "PYME"}, "MAKER in readers/magic.py: a program that opens and saves such a file"
    page = (ROOT / "docs/inputs.md").read_text(encoding="utf-8")
    assert [ending for ending in KINDS if ending not in page] == [], "name the endings in docs/inputs.md"


def test_every_export_has_a_title_and_a_row():
    assert FORMATS.keys() == TITLES.keys(), "TITLES in exports/registry.py says what each format is"
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    assert [name for name in (*FORMATS, *GROUPS) if f"`{name}`" not in page] == [], "give them a row in docs/formats.md"


def test_figures_of_methods_are_those_of_the_evaluation():
    with open(ROOT / "docs/evaluation.csv", encoding="utf-8", newline="") as file:
        seg = {(row["set"], row["method"]): f"{float(row['SEG'] or 0):.2f}" for row in csv.DictReader(file)}
    methods = {"`logstd`": "logstd, cell", "`logstd`, `logstd_outline: halo`": "logstd, halo"}
    methods |= {"`pyama`": "pyama", "`deepsea`": "deepsea"}
    rows = {row[0]: row[3] for row in table("choosing.md", "Which method for what") if row[0] in methods}
    assert rows == {name: f"{seg['t98g', method]}, {seg['40 cells', method]}" for name, method in methods.items()}
    paragraph = " ".join(section((ROOT / "docs/methods.md").read_text(encoding="utf-8"), "For a paper").split())
    for name, method in (("t98g", "logstd, cell"), ("t98g", "deepsea"), ("40 cells", "logstd, cell")):
        assert f"{seg[name, method]} (`{method.split(',')[0]}`)" in paragraph


def test_figures_of_what_we_lose_at_are_those_of_the_tables():
    with open(ROOT / "docs/evaluation.csv", encoding="utf-8", newline="") as file:
        rows = {(row["set"], row["method"]): row for row in csv.DictReader(file)}
    text = " ".join(section((ROOT / "docs/evaluation.md").read_text(encoding="utf-8"), "What we lose at").split())
    measures = "|".join(name for name in next(iter(rows.values())) if name not in ("what", "set", "method"))
    figures = re.findall(rf"({measures}) (\d\.\d{{3}}) \(([^;()]+); ([^;()]+)\)", text)
    assert len(figures) == len(re.findall(r"\d\.\d{3}", text)) > 10
    for measure, figure, name, method in figures:
        assert rows[name, method][measure] == figure, (name, method, measure)


def test_figures_of_phase_objects_are_those_of_the_tables():
    """The ranges over the kinds of pictures, and what is apart from them."""
    with open(ROOT / "docs/evaluation.csv", encoding="utf-8", newline="") as file:
        rows = {row["set"]: row for row in csv.DictReader(file) if row["method"] == "logstd, cell"}
    rows = {name.partition(": ")[2]: row for name, row in rows.items() if name.startswith("phase objects: ")}
    rows = {name: row for name, row in rows.items() if not row["TRA"]}
    text = " ".join(section((ROOT / "docs/segmentation.md").read_text(encoding="utf-8"), "Where a cell ends").split())
    apart = rows.pop("wide halos")
    for measure in ("SEG", "area", "intensity_mean"):
        values = sorted(float(row[measure]) for row in rows.values())
        assert f"{measure} {values[0]:.2f} to {values[-1]:.2f}" in text.replace("`", ""), measure
    assert ", ".join(f"{float(apart[name]):.2f}" for name in ("SEG", "area", "intensity_mean")) in text
    assert f"{sum(int(row['cells']) for row in [*rows.values(), apart])} outlines" in text


def test_what_is_cited_is_among_the_references():
    pages = {page: page.read_text(encoding="utf-8") for page in [*ROOT.glob("docs/*.md"), *PACKAGE.rglob("*.py")]}
    references = pages.pop(ROOT / "docs/references.md")
    listed = {
        (name, year)
        for entry in references.split("\n- ")
        for year in re.findall(r"\((\d{4})\)\.", entry)
        for name in re.findall(r"(\w+) [A-Z]+\b", entry.split(f"({year})")[0])
    }
    cited = set()
    for text in pages.values():  # but for what is a link itself
        found = r"\b([A-Z]\w+)(?:\s(?:&|and)\s[A-Z]\w+|\set\sal\.)?,?\s\(?((?:19|20)\d\d)\b(?!\)?\]\(https://doi\.org/)"
        cited |= set(re.findall(found, text))
    cited = {(name, year) for name, year in cited if name != "JPEG"}
    assert len(cited) > 15
    assert cited - listed == set()


def test_defaults_are_those_of_the_schema():
    declared = load_schema()["properties"]["params"]["properties"]
    rows = table("choosing.md", "For which cells the defaults are made")
    assert len(rows) > 5
    for names, values, *_ in rows:
        defaults = [declared[name]["default"] for name in re.findall(r"`(\w+)`", names)]
        assert [float(value) for value in values.split(",")] == defaults, names


def test_fixed_numbers_are_those_of_the_code():
    rows = table("methods.md", "Fixed numbers")
    assert len(rows) > 20
    for name, value, *_ in rows:
        file, constant = name.strip("`").split(":")
        module = importlib.import_module("celltraces." + file.removesuffix(".py").replace("/", "."))
        assert float(value) == getattr(module, constant), name


def imports_of_rooms():
    """Room -> rooms that its modules import, lazily or not."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        room = file.relative_to(PACKAGE).parts[0]
        if room.endswith(".py"):
            continue
        of_room = found.setdefault(room, set())
        for node in ast.walk(syntax_tree(file)):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = [f"{module}.{alias.name}" for alias in node.names]
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            parts = [name.split(".") for name in names if name.startswith("celltraces.")]
            of_room |= {part[1] for part in parts if (PACKAGE / part[1]).is_dir()} - {room}
    return found


def test_rooms_stand_in_the_order_in_which_they_import():
    page = (ROOT / "docs/code.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)/` \|", section(page, "The rooms of scripts/celltraces"), re.MULTILINE)
    rooms = imports_of_rooms()
    assert sorted(listed) == sorted(rooms)
    upwards = [(a, b) for a, imported in rooms.items() for b in imported if listed.index(b) < listed.index(a)]
    assert upwards == []


def test_the_change_log_begins_with_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert latest == version
