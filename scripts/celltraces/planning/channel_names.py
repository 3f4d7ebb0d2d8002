"""Doubt channels by the names that a file gives them: fluorescence given as phase contrast, or the other way round."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from celltraces.config.stage_settings import is_model
from celltraces.planning.dataset import Dataset
from celltraces.pyme.recipe import labels_cells

# What microscopes' software calls light that passes through cells, and light that they give off. Rings for phase
# contrast are Ph1 to Ph3 and PhL; other numbers behind these letters are the acidity for a dye, as in 5-FAM/pH 9.0.
TRANSMITTED = re.compile(
    r"phase|\bph ?[1-3]\b(?!\.\d)|\bphl?\b(?! ?\d)|\bpc\b|\bdic\b|\bbright ?(field)?\b|\bbf\b|\btrans\b|transmi|\btl\b"
    r"|\bdia\b|\bhmc\b",
    re.IGNORECASE,
)
FLUORESCENCE = re.compile(
    r"[gryc]fp\b|venus|cherry|tomato|dapi|hoechst|fitc|tritc|fluo|texas|alexa|\baf ?\d{3}|\bcy ?[357]|rhodamin|sytox",
    re.IGNORECASE,
)
COLOURS = {  # of the light of dyes and proteins, by what is in their names; the first that fits counts
    "far red": r"\bcy ?5|647|irfp|\bsir\b|draq",
    "red": r"cherry|tomato|\brfp|mruby|scarlet|tritc|texas|\bcy ?3|rhodamin|\b5[4-9]\d\b|mko",
    "blue": r"dapi|hoechst|\bbfp|405",
    "cyan": r"cfp|cerulean|turquoise",
    "yellow": r"yfp|venus|citrine",
    "green": r"gfp|fitc|neon ?green|clover|488",
}


def colour_of_dye(name: str) -> str | None:
    """The colour of the light that a channel's name tells of; None where it tells none."""
    plain = name.replace("_", " ")
    return next((colour for colour, words in COLOURS.items() if re.search(words, plain, re.IGNORECASE)), None)


def is_transmitted(name: str) -> bool:
    """Whether a channel's name is that of phase contrast, DIC or bright field."""
    return bool(TRANSMITTED.search(name.replace("_", " ")))


def is_fluorescence(name: str) -> bool:
    """Whether a channel's name is that of a dye, a fluorescent protein or their filter."""
    return not is_transmitted(name) and bool(FLUORESCENCE.search(name.replace("_", " ")))


def lines_on_channel_names(config: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """A line for each channel of a dataset that is used as what its name says it is not."""
    names = dataset.movie.channels
    others = [f"{at} {name!r}" for at, name in enumerate(names) if is_transmitted(name) and at not in dataset.fl]
    swapped = [f"{at} {names[at]!r}" for at in dataset.fl if is_transmitted(names[at])]
    if dataset.pc is not None and _made_for_phase_contrast(config["params"]):
        name = names[dataset.pc]
        if not is_transmitted(name) and (others or swapped):
            yield (
                f"channels.pc: channel {dataset.pc} of {dataset.path} is {name!r}; cells are found in phase contrast: "
                f"should it be channel {' or '.join(others + swapped)}?"
            )
        elif is_fluorescence(name):
            yield (
                f"channels.pc: channel {dataset.pc} of {dataset.path} is {name!r}, by its name fluorescence; cells are "
                f"found by what they look like in phase contrast; the file has {_listed(names)}"
            )
    if swapped:
        yield (
            f"channels.fl: channel {' and '.join(swapped)} of {dataset.path} is no fluorescence by its name, so that "
            f"intensities mean nothing; the file has {_listed(names)}"
        )


def _made_for_phase_contrast(params: Mapping[str, Any]) -> bool:
    """Whether cells are found by a method that knows phase contrast alone, and no model or function of the user's."""
    method = params["segmentation_method"]
    of_user = method == "cellpose" or is_model(method) or ":" in method
    return not (params["copy_only"] or of_user or labels_cells(params["recipe"]))


def _listed(names: list[str]) -> str:
    return ", ".join(f"{at} {name!r}" for at, name in enumerate(names))
