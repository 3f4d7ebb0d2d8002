"""Join the same table of several datasets into one that names the dataset in its first column.

Tables are passed on line by line, so that memory does not grow with them, and numbers stay as they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from celltraces.errors import UserError
from celltraces.files import whole

COMMENT = "# "
DATASET = "dataset"


def join_tables(tables: Mapping[str, Path], output: Path, *, named: bool = False) -> int:
    """Write one table from those of the datasets, by name, one after the other; returns how many rows it has.

    named: the tables have the column `dataset` already. Of the comments above a table the first, which tells the unit
    of time, has to be the same for all and is kept; others are kept with the name of the dataset in front.
    Raises UserError where the tables do not have the same columns or the same unit.
    """
    heads = {dataset: _head(path) for dataset, path in tables.items()}
    (unit, columns), first = _agreed(heads, tables), next(iter(tables.values()), None)
    n_rows = 0
    with whole(output) as partial, open(partial, "w", encoding="utf-8", newline="") as joined:
        if first is None:
            return 0
        joined.write(unit)
        for dataset, (comments, _) in heads.items():
            joined.writelines(f"{COMMENT}{dataset}: {line.removeprefix(COMMENT)}" for line in comments[1:])
        joined.write(columns if named else f"{DATASET},{columns}")
        for dataset, path in tables.items():
            with open(path, encoding="utf-8", newline="") as table:
                for _ in range(len(heads[dataset][0]) + 1):
                    next(table)
                for row in table:
                    joined.write(row if named else f"{dataset},{row}")
                    n_rows += 1
    return n_rows


def _head(path: Path) -> tuple[list[str], str]:
    """The comments above a table, and the line with its columns."""
    comments: list[str] = []
    with open(path, encoding="utf-8", newline="") as table:
        for line in table:
            if not line.startswith(COMMENT):
                return comments, line
            comments.append(line)
    return comments, ""


def _agreed(heads: Mapping[str, tuple[list[str], str]], tables: Mapping[str, Path]) -> tuple[str, str]:
    """The unit of time (empty where none is told) and the columns that all tables have."""
    agreed: tuple[str, str] | None = None
    for dataset, (comments, columns) in heads.items():
        this = ("".join(comments[:1]), columns)
        agreed = agreed or this
        if this != agreed:
            other = next(iter(tables.values()))
            raise UserError(
                f"{tables[dataset]}: its unit or columns are not those of {other}; delete both and run again"
            )
    return agreed or ("", "")
