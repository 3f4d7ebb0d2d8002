"""Configs of previews."""

import numpy as np

from celltraces.config.read_config import complete


def config(method="logstd", params=None, **wanted):
    params = {"segmentation_method": method, "min_frames": 1, "border_margin": 0, **(params or {})}
    channels = {"pc": {"channel": 0}}
    return complete({"datasets": {"a": "a.nd2"}, "channels": channels, "params": params, "preview": wanted})


def plain_comparison(reference, labels):
    """The definitions of preview_compare.compare, cell by cell and pixel by pixel."""
    old = {k: set(zip(*np.nonzero(reference == k), strict=True)) for k in np.unique(reference[reference > 0]).tolist()}
    new = {k: set(zip(*np.nonzero(labels == k), strict=True)) for k in np.unique(labels[labels > 0]).tolist()}
    swallowed = {k: sum(2 * len(a & b) > len(a) for a in old.values()) for k, b in new.items()}
    parts = {k: [n for n, b in new.items() if 2 * len(a & b) > len(b)] for k, a in old.items()}
    return {
        "cells": len(new),
        "merged": {k for k, n in swallowed.items() if n > 1},
        "split": {k for k, found in parts.items() if len(found) > 1},
        "new": {k for k, b in new.items() if not any(a & b for a in old.values())},
        "lost": {k for k, a in old.items() if not any(a & b for b in new.values())},
        "same": {k for k, a in old.items() if any(2 * len(a & b) >= len(a | b) for b in new.values())},
    }
