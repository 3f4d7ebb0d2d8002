"""What a person decided after looking at the traces: cells that are good, or not.

Two ways, both beside the results, both surviving every rerun: `{dataset}_fov_000_traces_inspected.csv` beside the
traces, as PyAMA's viewer writes it (the traces with other values in `good`), and `curation.csv` in the folder of all
results with the columns dataset, fov, cell, good and, if wanted, note. Where both name a cell, curation.csv counts.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyama.errors import PyamaError
from pyama.paths import CURATION, INSPECTED

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("pyama")

Flag = tuple[int, int, bool]  # fov, cell, good
COLUMNS = ("dataset", "fov", "cell", "good")
WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_curation(path: Path, n_fovs: Mapping[str, int]) -> dict[str, list[Flag]]:
    """The rows of curation.csv as (fov, cell, good), by dataset; empty where there is no such file.

    n_fovs: the FOVs that each dataset has. Raises PyamaError with a line for each mistake.
    """
    flags: dict[str, list[Flag]] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            absent = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if absent:
                raise PyamaError(f"{path}: the column {absent[0]!r} is missing; needed are {', '.join(COLUMNS)}")
            mistakes = []
            for row in rows:
                try:
                    flags.setdefault(row["dataset"], []).append(_flag(row, n_fovs))
                except ValueError as error:
                    mistakes.append(f"{path}, line {rows.line_num}: {error}")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError, csv.Error) as error:
        raise PyamaError(f"{path}: cannot be read as a table ({error}); write it as CSV in UTF-8") from None
    if mistakes:
        raise PyamaError("\n".join(mistakes))
    return flags


def _flag(row: Mapping[str, str | None], n_fovs: Mapping[str, int]) -> Flag:
    dataset, good = row["dataset"] or "", (row["good"] or "").strip().lower()
    if dataset not in n_fovs:
        raise ValueError(f"there is no dataset {dataset!r}; there are {', '.join(n_fovs)}")
    if good not in WORDS:
        raise ValueError(f"good is {row['good']!r}; allowed are true and false")
    try:
        fov, cell = int(row["fov"] or ""), int(row["cell"] or "")
    except ValueError:
        raise ValueError(f"fov {row['fov']!r} and cell {row['cell']!r} are to be whole numbers") from None
    if not 0 <= fov < n_fovs[dataset]:
        raise ValueError(f"dataset {dataset} has no FOV {fov}; it has FOVs 0 to {n_fovs[dataset] - 1}")
    return fov, cell, WORDS[good]


def good_traces(
    traces: Sequence[str],
    times_min: Sequence[Sequence[float]],
    inspected: Iterable[str],
    flags: Sequence[Flag],
) -> Iterator[pd.DataFrame]:
    """The good rows of the traces of each FOV, with the column `time_min` added; one FOV in memory at a time.

    traces: paths. times_min: times of the frames of each. inspected: those inspected tables that exist; each replaces
    `good` of the cells and frames in it. flags: (fov, cell, good) of these FOVs, which come last.
    """
    import pandas as pd

    decided_on = {Path(path).name: Path(path) for path in inspected}
    for path, times in zip(map(Path, traces), times_min, strict=True):
        table = pd.read_csv(path)
        good = table["good"].astype(bool).tolist()
        at = decided_on.get(path.stem + INSPECTED)
        decided = _inspected(at) if at else {}
        whole_cells = {(fov, cell): is_good for fov, cell, is_good in flags}
        for fov, cell in sorted(whole_cells.keys() - set(zip(table["fov"], table["cell"], strict=True))):
            if fov in set(table["fov"]):
                log.warning("%s names cell %d of FOV %d, which is not in its traces", CURATION, cell, fov)
        rows = zip(table["fov"], table["cell"], table["frame"], good, strict=True)
        keep = [whole_cells.get((fov, cell), decided.get((cell, frame), now)) for fov, cell, frame, now in rows]
        kept = table[pd.Series(keep, table.index, dtype=bool)]
        yield kept.assign(time_min=pd.Series(times, dtype=float)[kept["frame"]].to_numpy())


def _inspected(path: Path) -> dict[tuple[int, int], bool]:
    """`good` by cell and frame."""
    import pandas as pd

    try:
        table = pd.read_csv(path, usecols=["cell", "frame", "good"], dtype={"cell": int, "frame": int, "good": str})
        words = table["good"].str.strip().str.lower()
        unknown = table["good"][~words.isin(WORDS)]
        if len(unknown):
            raise ValueError(f"good is {unknown.iloc[0]!r}")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PyamaError(f"{path}: not a table of inspected traces ({reason}); mend it or delete it") from None
    return dict(zip(zip(table["cell"], table["frame"], strict=True), words.map(WORDS), strict=True))
