"""Expand lists of FOVs such as "0-9, 12" into numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celltraces.errors import UserError


def expand_fovs(fovs: Any, n_fovs: int, key: str, what: str = "FOV") -> list[int]:
    """FOV (or frame) numbers, sorted, from "all", "0-9, 12", a number or a list. `key` names the setting in errors."""
    if fovs == "all":
        return list(range(n_fovs))
    if isinstance(fovs, int):
        chosen = {fovs}
    elif isinstance(fovs, str):
        chosen = set()
        for part in fovs.split(","):
            first, _, last = part.partition("-")
            if last and int(last) < int(first):
                raise UserError(f"{key}: {part.strip()!r} runs backwards; write {last.strip()}-{first.strip()}")
            chosen.update(range(int(first), min(int(last or first), n_fovs) + 1))
    else:
        chosen = set(fovs)
    absent = sorted(fov for fov in chosen if fov >= n_fovs)
    if absent:
        raise UserError(f"{key}: {what} {absent[0]} is not in the file, which has {what}s 0 to {n_fovs - 1}")
    return sorted(chosen)


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
    """The `fovs` setting of one dataset."""
    fovs = config["fovs"]
    return fovs.get(dataset, "all") if isinstance(fovs, Mapping) else fovs
