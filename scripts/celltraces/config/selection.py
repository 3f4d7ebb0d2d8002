"""Expand lists of FOVs such as "0-9, 12" into numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celltraces.errors import UserError


def expand_fovs(fovs: Any, n_fovs: int, key: str, what: str = "FOV") -> list[int]:
    """FOV (or frame) numbers, sorted, from "all", "0-9, 12", a number or a list. `key` names the setting in errors."""
    present, absent = split_fovs(fovs, n_fovs, key)
    if absent:
        raise UserError(f"{key}: {what} {absent[0]} is not in the file, which has {what}s 0 to {n_fovs - 1}")
    return present


def split_fovs(fovs: Any, n_fovs: int, key: str) -> tuple[list[int], list[int]]:
    """FOV numbers, sorted, as `expand_fovs` reads them: those that a file of `n_fovs` has, and those that it lacks.

    Of a range that goes on beyond the file the first number beyond is among the latter.
    """
    if fovs == "all":
        return list(range(n_fovs)), []
    if isinstance(fovs, int):
        chosen = {fovs}
    elif isinstance(fovs, str):
        chosen = set()
        for part in fovs.split(","):
            first, _, last = part.partition("-")
            if last and int(last) < int(first):
                raise UserError(f"{key}: {part.strip()!r} runs backwards; write {last.strip()}-{first.strip()}")
            chosen.update(range(int(first), max(int(first), min(int(last or first), n_fovs)) + 1))
    else:
        chosen = set(fovs)
    return sorted(fov for fov in chosen if fov < n_fovs), sorted(fov for fov in chosen if fov >= n_fovs)


def spell_fovs(fovs: Sequence[int]) -> str:
    """Sorted FOV numbers as a person writes them: "0-9, 12"."""
    runs: list[list[int]] = []
    for fov in fovs:
        if runs and fov == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], fov]
        else:
            runs.append([fov])
    return ", ".join(dict.fromkeys("-".join(map(str, run)) for run in runs))


def fovs_of(config: Mapping[str, Any], dataset: str) -> Any:
    """The `fovs` setting of one dataset; all of one that a mapping does not name."""
    return fovs_in(config["fovs"], dataset, "all")


def fovs_in(fovs: Any, dataset: str, unnamed: Any) -> Any:
    """What a setting says of one dataset: the same for all, or a mapping's value; `unnamed` where that has none."""
    return fovs.get(dataset, unnamed) if isinstance(fovs, Mapping) else fovs
