"""Choose colours, labels and units for samples and features in plots."""

from __future__ import annotations

from collections.abc import Mapping

# The first eight are told apart by people who are colour-blind, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C6D31")
UNITS = {"area": "px", "perimeter": "px", "centroid_x": "px", "centroid_y": "px", "particle_num": "spots"}


def colours(n: int) -> tuple[str, ...]:
    """A colour for each of n things: those of COLOURS, or a range of shades where these are too few."""
    if n <= len(COLOURS):
        return COLOURS[:n]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return tuple(to_hex(colormaps["viridis"](0.95 * at / (n - 1))) for at in range(n))


def label_of(column: str, channels: Mapping[str, str]) -> str:
    """The label of a feature's column: "intensity_total_ch_1" -> "GFP: intensity total"."""
    feature, _, channel = column.rpartition("_ch_")
    unit = f" ({UNITS[feature]})" if feature in UNITS else ""
    return f"{channels[channel]}: {feature.replace('_', ' ')}{unit}"
