"""Read a config file before Snakemake does, and say where its YAML is wrong: `make check CONFIG=my.yaml`.

Snakemake refuses such a file before it asks the workflow, with a traceback or in the words of its parser, and so it
does where it cannot write its cache.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from celltraces.errors import UserError

TAB = "a tab: YAML wants spaces in the place of tabs"
# What PyYAML says of a mistake, and what it is to a person; the first that fits counts.
WORDS = (
    (r"character '\\\\t' that cannot start", TAB),
    (r"cannot start any token", "a character that no text can begin with: put the text in quotes"),
    (
        r"unknown escape character|escape sequence",
        "a backslash in double quotes: write the path with /, or in single quotes",
    ),
    (r"unexpected end of stream|while scanning a quoted scalar", "a quote that is not closed"),
    (
        r"mapping values are not allowed",
        "a colon where none can stand: a key that is indented further than its neighbours, a line above that lacks its "
        "colon, or text with ': ' in it, which belongs in quotes",
    ),
    (
        r"expected ',' or|did not find expected ',' or",
        "a bracket or brace that is not closed, or a comma that is missing before this",
    ),
    (
        r"expected <block end>|did not find expected key|expected '<document start>'|could not find expected ':'",
        "an indent that fits no line above, a colon that is missing, or a bracket or quote too many: keys that belong "
        "together begin in one column, and a space follows each colon",
    ),
    (r"undefined alias|anchor", "& and * have a meaning of their own in YAML: put this text in quotes"),
    (r"tag", "! has a meaning of its own in YAML: put this text in quotes"),
)
MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16", codecs.BOM_UTF32_BE: "UTF-32"}


def read_config_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises UserError, which names the line and column, where there is none."""
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name the config, a .yaml file") from None
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file{_neighbours(path)}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    text = _decoded(path, content)
    try:
        config = yaml.load(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{path}, {_place(error, text)}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        position = getattr(error, "position", 0)
        line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
        raise UserError(
            f"{path}, line {line}, column {column}: a character that YAML does not allow; remove it"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: too deeply nested") from None
    if not isinstance(config, dict):
        what = "is empty" if config is None else f"holds {'a list' if isinstance(config, list) else 'text'}"
        raise UserError(f"{path} {what}; a config has keys, such as `datasets: {{monday: /data/monday.nd2}}`")
    return config


def _decoded(path: Path, content: bytes) -> str:
    for mark, name in MARKS.items():
        if content.startswith(mark):
            raise UserError(f"{path} is written in {name}; save it as UTF-8 (in Notepad: Save as, Encoding)")
    if content[:200].count(b"\0"):
        raise UserError(f"{path} is no text in UTF-8; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise UserError(
            f"{path}, line {line}, column {column}: a letter that is not in UTF-8; save the file as UTF-8"
        ) from None


def _place(error: yaml.MarkedYAMLError, text: str) -> str:
    """Line and column of a mistake, what it is, and the line itself."""
    mark = error.problem_mark or error.context_mark
    said = f"{error.context or ''} {error.problem or ''}"
    # A quote or bracket that is not closed is found at the end of the file, and is where it was opened.
    if error.context_mark and re.search(r"end of stream|but got '<stream end>'", said):
        mark = error.context_mark
    lines = text.splitlines()
    line = lines[mark.line].strip() if mark.line < len(lines) else ""
    if "\t" in (lines[mark.line][: mark.column + 1] if mark.line < len(lines) else ""):
        what = TAB
    else:
        what = next((words for pattern, words in WORDS if re.search(pattern, said)), f"no YAML ({error.problem})")
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}; there stands {line!r}"


def _neighbours(path: Path) -> str:
    """Config files in the folder of one that is not there, as the end of a message."""
    found = sorted(file.name for ending in ("*.yaml", "*.yml") for file in path.parent.glob(ending))
    return f"; there are {', '.join(found[:5])}" if found else ""


def refuse_no_cache() -> None:
    """Raise UserError where Snakemake could not make the folders that it needs before it reads the workflow."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    there = next(folder for folder in (cache / "snakemake", *(cache / "snakemake").parents) if folder.exists())
    if sys.platform == "linux" and not os.access(there, os.W_OK):
        raise UserError(f"{cache} cannot be written, where Snakemake keeps its cache; set XDG_CACHE_HOME to a folder")
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise UserError("no folder for temporary files can be written; set TMPDIR to one") from None


if __name__ == "__main__":
    try:
        refuse_no_cache()
        read_config_file(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(str(error))
