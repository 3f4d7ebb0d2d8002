"""Compare segmentation parameters on a few frames before a run."""
