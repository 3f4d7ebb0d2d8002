"""Draw docs/segmentation.png: a frame of the demo, its log-STD, the histogram with the threshold, and the outlines.

Usage: .venv/dev/bin/python benchmarks/segmentation_steps.py
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from celltraces.segmentation import logstd
from celltraces.segmentation.local_variance import log_std, n2_variance
from demo.simulate import simulate

WINDOW = 3
PART = np.s_[90:250, 250:410]


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    image = simulate().plane(0, 12, 0)
    spread = n2_variance(image, WINDOW)
    limit = logstd.threshold(spread, WINDOW, 50)
    texture = log_std(spread, WINDOW)
    outlines = {outline: logstd.segment_frame(image, logstd_outline=outline) for outline in ("halo", "cell")}
    figure, panels = pyplot.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
    panels[0].imshow(image[PART], cmap="gray")
    panels[0].set_title("phase contrast")
    panels[1].imshow(texture[PART], cmap="viridis")
    panels[1].set_title("log-STD, L")
    panels[2].hist(texture[np.isfinite(texture)], bins=logstd.BINS, color="0.6")
    panels[2].axvline(limit, color="tab:red")
    panels[2].annotate("threshold T", (limit, 0.9), (4, 0), ("data", "axes fraction"), "offset points", color="tab:red")
    panels[2].set(yscale="log", xlabel="L", ylabel="pixels", title="histogram of L")
    panels[3].imshow(image[PART], cmap="gray")
    for outline, colour in (("halo", "tab:orange"), ("cell", "tab:cyan")):
        for label in np.unique(outlines[outline][PART])[1:]:
            panels[3].contour(outlines[outline][PART] == label, [0.5], colors=[colour], linewidths=1)
        panels[3].plot([], [], color=colour, label=outline)
    panels[3].set_title("outlines: halo, cell")
    panels[3].legend(loc="lower right", fontsize=8)
    for panel in panels[[0, 1, 3]]:
        panel.set_axis_off()
    figure.savefig(ROOT / "docs/segmentation.png", dpi=90)


if __name__ == "__main__":
    main()
