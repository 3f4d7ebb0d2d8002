"""Leave what is wrong out of a config, so that mistakes of other kinds in the rest are told at the same time.

What a mistake may depend on that was left out is not judged: a line about it could be false. It comes when the key is
mended.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celltraces.config.messages import find_violations

Place = tuple[str, ...]

ROUNDS = 10  # leaving out may make more mistakes: a sample without its name
SUGGESTED = re.compile(r"did you mean (\w+)\?")
FREE_NAMES = ("datasets", "chroma", "flat_field")  # sections whose keys are names or numbers of the user's
# What cannot be judged without a section of the config, besides lines that name one of its keys.
NEEDED_BY = {
    "channels": ("channels", "fits", "exports", "pictures", "preview", "samples", "chroma", "flat_field"),
    "datasets": ("samples", "fits"),
    "fovs": ("samples",),
    "plugins": ("channels", "fits"),
    "samples": ("fits",),
}


def without_violations(
    config: Mapping[str, Any], schema: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, list[Place]]:
    """The config without what violates the schema, so that defaults stand for it, and the places of all that.

    Of a list with a mistake in it all is left out, since what follows would have other numbers. None where nothing that
    can be judged remains.
    """
    kept = copy.deepcopy(dict(config))
    wrong: list[Place] = []
    for _ in range(ROUNDS):
        places = [place for error in find_violations(kept, schema) for place in _mistaken(error)]
        if not places:
            return kept, wrong
        if () in places:
            return None, wrong
        for place in places:
            leave_out(kept, place)
        wrong += places
    return None, wrong


def _mistaken(error: Any) -> Iterator[Place]:
    """Places that one violation is about; those of lists for what is in them, () for all of the config."""
    path = [str(part) for part in error.absolute_path]
    if error.validator == "additionalProperties" and isinstance(error.validator_value, bool):
        names = [name for name in error.instance if name not in error.schema["properties"]]
    elif "propertyNames" in error.absolute_schema_path:
        names = [error.instance]
    else:
        names = []
    for place in [[*path, name] for name in names] or [path]:
        numbers = [at for at, part in enumerate(error.absolute_path) if isinstance(part, int)]
        yield tuple(place[: numbers[0]] if numbers else place)


def leave_out(config: dict[str, Any], place: Place) -> None:
    """Take the value at a place out of a config, or what is above it up to a list (in place)."""
    inner: Any = config
    for at, name in enumerate(place):
        within = inner.get(name)
        if at == len(place) - 1 or not isinstance(within, dict):
            inner.pop(name, None)
            return
        inner = within


def keys_of_lines(lines: Iterable[str]) -> list[Place]:
    """The places that lines on mistakes begin with."""
    return [tuple(line.split(":")[0].split(".")) for line in lines]


def independent(lines: Iterable[str], wrong: Iterable[Place], told: Iterable[str]) -> list[str]:
    """Those of the lines on the rest of a config that do not depend on what is wrong in it.

    told: the lines on that, which may say what a misspelled key was meant to be.
    """
    wrong = list(wrong)
    names = {place[-1] for place in wrong if place[0] not in FREE_NAMES or len(place) == 1}
    names |= {name for line in told for name in SUGGESTED.findall(line)}
    free = {place[1] for place in wrong if place[0] in FREE_NAMES and len(place) > 1}
    patterns = [rf"(?<!\w){re.escape(name)}(?!\w)" for name in names]
    patterns += [rf"[.'\"]{re.escape(name)}(?!\w)" for name in free]
    sections = {section for place in wrong for section in NEEDED_BY.get(place[0], ())}
    sections |= {"params"} if ("params",) in wrong else set()
    return [
        line
        for line in lines
        if (re.match(r"\w*", line) or [""])[0] not in sections and not any(re.search(each, line) for each in patterns)
    ]
