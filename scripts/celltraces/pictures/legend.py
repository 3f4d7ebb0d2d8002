"""Choose colours, labels and units for samples and features in plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# The first eight are told apart by people who are colour-blind, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C6D31")
LENGTHS = ("perimeter", "centroid_x", "centroid_y")
UNITS = {"area": "px", "particle_num": "spots", **dict.fromkeys(LENGTHS, "px")}
HOURS_FROM = 180  # minutes: longer movies have their times in hours


def colours(n: int) -> tuple[str, ...]:
    """A colour for each of n things: those of COLOURS, or a range of shades where these are too few."""
    if n <= len(COLOURS):
        return COLOURS[:n]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return tuple(to_hex(colormaps["viridis"](0.95 * at / (n - 1))) for at in range(n))


def label_of(column: str, channels: Mapping[str, str], pixel_size_um: float | None = None) -> str:
    """The label of a feature's column: "intensity_total_ch_1" -> "GFP: intensity total (counts)"."""
    feature, _, channel = column.rpartition("_ch_")
    unit = unit_of(column, pixel_size_um)
    return f"{channels[channel]}: {feature.replace('_', ' ')}" + (f" ({unit})" if unit else "")


def unit_of(column: str, pixel_size_um: float | None = None) -> str:
    """The unit in which a feature's column is shown; "" for what has none. Areas and lengths are shown in µm² and µm
    where the pixel size is known."""
    feature = column.rpartition("_ch_")[0]
    if feature.startswith("intensity_"):
        return "counts"
    if pixel_size_um and feature == "area":
        return "µm²"
    return "µm" if pixel_size_um and feature in LENGTHS else UNITS.get(feature, "")


def scale_of(column: str, pixel_size_um: float | None = None) -> float:
    """By what a feature's values, which tables have in pixels, are multiplied to be shown in the unit of `unit_of`."""
    feature = column.rpartition("_ch_")[0]
    powers = {"area": 2, **dict.fromkeys(LENGTHS, 1)}
    return pixel_size_um ** powers.get(feature, 0) if pixel_size_um else 1.0


def time_unit(times_min: Sequence[float]) -> tuple[str, int]:
    """The unit in which the times of a movie are shown, and how many minutes it has; times_min: of its frames."""
    return ("h", 60) if max(times_min, default=0) >= HOURS_FROM else ("min", 1)
