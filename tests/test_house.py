"""How the code is laid out: which room may import which, what a module is, and one name for each stage."""

import ast
import re
import subprocess
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml
from conftest import PYTHON, ROOT, syntax_tree

SCRIPTS = ROOT / "scripts"
PACKAGE = SCRIPTS / "celltraces"

# From the ground up: a room imports itself and rooms of lower rows, nothing of its own row or above.
RANKS = (
    ("array_types", "errors", "files", "metadata", "paths"),
    ("plugins", "storage"),
    ("frames", "kinetics", "labels", "pictures"),
    ("edits",),
    ("fluorescence", "results", "tracking"),
    ("runs",),
    ("exports", "features"),
    ("pyme", "tiff"),
    ("config", "readers", "segmentation"),
    ("preview", "report"),
    ("planning",),
    ("curate",),
)
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}

# Libraries that take long to import, or that only some runs need: imported inside the functions that use them.
IMPORTED_LATE = {"PIL", "aicspylibczi", "btrack", "cellpose", "h5py", "jsonschema", "matplotlib", "nd2", "pandas"}
IMPORTED_LATE |= {"liffile", "torch"}
IMPORTED_LATE |= {"onnx", "onnxruntime", "pyarrow", "pylibCZIrw", "scipy", "skimage", "snakemake", "tifffile", "zarr"}
# Modules that may load them, since they are themselves imported late, or by one script that needs them.
MAY_LOAD = {
    "celltraces.pictures.plots": {"pandas", "pyarrow"},
    "celltraces.segmentation.flows": {"scipy", "skimage"},
    "celltraces.segmentation.parting": {"scipy", "skimage"},
    "celltraces.segmentation.learned": {"scipy", "skimage"},
}

IMPORT_EACH = """
import importlib, sys
for module in sys.argv[1].split():
    importlib.import_module(module)
print(*{name.partition(".")[0] for name in sys.modules})
"""

MODULES = sorted(path.relative_to(SCRIPTS) for path in PACKAGE.rglob("*.py"))
STAGES = sorted(path.relative_to(SCRIPTS) for path in SCRIPTS.glob("*.py"))
FILES = [*MODULES, *STAGES, *sorted(path.relative_to(SCRIPTS) for path in (SCRIPTS / "demo").rglob("*.py"))]
ALLOWED_CONDITIONS = ("TYPE_CHECKING", "__name__ == '__main__'")  # of an `if` at the top of a module


def tree_of(file):
    return syntax_tree(SCRIPTS / file)


def imported_by(tree):
    """Dotted names that a module imports anywhere in it, also late or for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def our_file(name):
    """The file below scripts/ that a dotted name is, or is in; None where it is none of ours."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        stem = Path(*parts[:depth])
        for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
            if (SCRIPTS / candidate).is_file():
                return candidate
    return None


@cache
def our_imports(file):
    return {found for found in map(our_file, imported_by(tree_of(file))) if found is not None} - {file}


def room_of(module):
    """The sub-package that a module of the package is in, or the module's own name; "" is the package itself."""
    return module.parts[1] if len(module.parts) > 2 else "" if module.stem == "__init__" else module.stem


def dotted(module):
    return ".".join(module.with_suffix("").parts).removesuffix(".__init__")


# -------------------------------------------------------------------------------------------------------- the imports


def test_each_room_has_a_rank():
    assert sorted(RANK) == sorted({room_of(module) for module in MODULES} - {""})


def test_rooms_import_lower_rooms_only():
    upward = [
        f"{module} imports {other}"
        for module in MODULES
        for other in our_imports(module)
        if other.parts[0] != "celltraces"
        or (room_of(other) != room_of(module) and RANK[room_of(other)] >= RANK[room_of(module)])
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle():
    try:
        TopologicalSorter({file: our_imports(file) for file in FILES}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(map(str, error.args[1]))}")


def test_circles_are_found():
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


def test_no_import_is_relative():
    """The digest of a stage's code (planning/code_digest.py) follows absolute imports."""
    relative = [
        f"{file}, line {node.lineno}"
        for file in FILES
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_no_module_and_no_script_imports_a_script():
    assert [f"{file} imports {found}" for file in FILES for found in our_imports(file) & {*STAGES}] == []


@pytest.mark.parametrize("module", [None, *MAY_LOAD])
def test_late_imports_are_late(module):
    """Planning and each job pay for what importing the package loads."""
    modules = [module] if module else sorted({*map(dotted, MODULES)} - {*MAY_LOAD})
    ran = subprocess.run(
        [PYTHON, "-c", IMPORT_EACH, " ".join(modules)], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert {*ran.stdout.split()} & IMPORTED_LATE == MAY_LOAD.get(module, set())
    assert ran.stderr == ""


# -------------------------------------------------------------------------------------------------------- the modules


def test_no_room_holds_more_than_a_fifth_of_the_lines():
    lines = Counter()
    for module in MODULES:
        lines[room_of(module)] += len((SCRIPTS / module).read_text(encoding="utf-8").splitlines())
    assert {room: n for room, n in lines.items() if n > lines.total() / 5} == {}


def test_a_room_itself_holds_a_docstring_only():
    """A re-export would make every stage depend on all of the room, and run again with each edit in it."""
    rooms = [module for module in MODULES if module.name == "__init__.py"]
    assert {module.parent for module in rooms} == {module.parent for module in MODULES}
    assert [str(module) for module in rooms if len(tree_of(module).body) > 1] == []


def test_every_module_says_what_it_is():
    assert [str(file) for file in FILES if not ast.get_docstring(tree_of(file))] == []


def defined_twice(tree):
    """Names of functions and classes that a module, or a class in it, defines again."""
    for scope in ast.walk(tree):
        if isinstance(scope, ast.Module | ast.ClassDef):
            names = Counter(node.name for node in scope.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
            yield from (name for name, times in names.items() if times > 1)


def test_nothing_is_defined_twice():
    """As it is after a merge of the same lines; of two tests of one name the first would never run."""
    assert list(defined_twice(ast.parse("class A: pass\ndef f(): pass\nclass A: pass"))) == ["A"]
    files = [path for folder in ("scripts", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert [f"{path.relative_to(ROOT)}: {name}" for path in files for name in defined_twice(syntax_tree(path))] == []


# What several modules offer under one name on purpose, so that one can take the place of another; and names that are
# always called with that of their module.
SAME_EVERYWHERE = {"export", "contents", "segment_frame", "read", "write", "from_json", "to_json", "forget", "hold"}


def test_a_name_means_one_thing_in_all_rooms():
    """Else neither a search nor a reader knows which is meant: say of what it is, as `find_files`, `effect_columns`."""
    defined = {}
    for module in MODULES:
        for node in tree_of(module).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(str(module))
    twice = {name: modules for name, modules in defined.items() if len(modules) > 1 and name not in SAME_EVERYWHERE}
    assert twice == {}, "give each a name that says of what it is"


def test_nothing_runs_in_a_copy_of_a_process_before_it_becomes_another():
    """With `preexec_fn`: where the process has threads, the copy may wait for ever for a lock that one of them held.

    tests/process_tools.py, and a shell's `ulimit`, do without.
    """
    files = [path for folder in ("scripts", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    calls = [(path, node) for path in files for node in ast.walk(syntax_tree(path)) if isinstance(node, ast.Call)]
    named = [path.name for path, call in calls for keyword in call.keywords if keyword.arg == "preexec_fn"]
    assert len(calls) > 10_000
    assert named == []


def test_importing_a_module_does_no_work():
    """At the top of a module: imports, definitions, constants, and what is only for types or for a command."""
    working = [
        f"{module}, line {statement.lineno}"
        for module in MODULES
        for statement in tree_of(module).body
        if not isinstance(
            statement,
            (
                ast.Import,
                ast.ImportFrom,
                ast.FunctionDef,
                ast.AsyncFunctionDef,
                ast.ClassDef,
                ast.Assign,
                ast.AnnAssign,
                ast.AugAssign,
            ),
        )
        and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        and not (isinstance(statement, ast.If) and ast.unparse(statement.test) in ALLOWED_CONDITIONS)
    ]
    assert working == []


# ------------------------------------------------------------------------------------------ one name for each stage

NAMED = re.compile(r"\b(log|benchmark|checksums|memory|runtime|largest_fov_memory|settings_of)\(\s*f?\"([^\"]+)\"")
# Rules that take something from the rule that they are made from, or share it with rules of their kind.
SHARED = {
    **{"cache_corrected": "cache", "index_corrected": "index", "cache_edited": "cache", "index_edited": "index"},
    **{"extract_taken_in": "extract", "export_{name}": "export", "find_scale": "segment_learned"},
}


def rules():
    """(name, text) of each rule in rules/; a rule that is made in a loop has its name as it is spelled there."""
    for file in sorted((ROOT / "rules").glob("*.smk")):
        text = file.read_text(encoding="utf-8")
        parts = re.split(r"^ *(?=(?:use )?rule\b[^\n]*:$|use rule\b)", text, flags=re.MULTILINE)
        for part in parts:
            if match := re.match(r"use rule \w+ as (\w+)|rule (\w+)|rule:.*?name:\s*f?\"?([^\"\n]+)", part, re.DOTALL):
                yield next(filter(None, match.groups())), part


def test_a_stage_has_one_name_in_its_rule():
    named = list(rules())
    assert {"segment", "write_report", "cache_corrected", "export_{name}"} <= {name for name, _ in named}
    wrong = [
        f"rule {rule}: {call}({name!r})"
        for rule, text in named
        for call, name in NAMED.findall(text)
        if name not in (rule, SHARED.get(rule)) and not name.startswith(f"{rule}_{{")
    ]
    assert wrong == []


def test_the_schema_names_stages_as_the_rules():
    schema = yaml.safe_load((ROOT / "config/schema.yaml").read_text(encoding="utf-8"))

    def stages(part):
        if isinstance(part, dict):
            yield from part.get("stages", ())
            part = list(part.values())
        if isinstance(part, list):
            for item in part:
                yield from stages(item)

    named = {*stages(schema)}
    assert "write_report" in named
    assert named <= {rule for rule, _ in rules()}


def test_no_file_is_long():
    """A guide says 400 lines; from here on a file does more than one thing, or has to be split by subject."""
    lengths = {
        file: file.read_text(encoding="utf-8").count("\n")
        for folder in ("scripts", "rules", "tests", "benchmarks")
        for kind in ("py", "smk", "js", "css")
        for file in (ROOT / folder).rglob(f"*.{kind}")
    }
    assert len(lengths) > 300
    assert {file.relative_to(ROOT): n for file, n in lengths.items() if n > 620} == {}
