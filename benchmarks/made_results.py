"""Results of the workflow, made up: cells whose places, tracks and light are known, in the workflow's own files.

For tests and measurements of what reads results, which need neither a microscope's file nor a run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import yaml

import cache_levels
import crop_cells
from celltraces.storage import display_level
from celltraces.storage.codecs import LABELS, PIXELS
from celltraces.storage.frames import Frames, open_frames, writing
from celltraces.storage.groups import write_group

MIN_FRAMES, BORDER_MARGIN = 3, 5
CHANNELS = {"0": "Phase contrast", "1": "GFP"}


def label_movie(n_frames: int, size: int, n_cells: int, tracks: dict[int, dict[int, int]] | None = None) -> np.ndarray:
    """(T, size, size) uint16: disks on a grid that sway a little, numbered from 1 row by row.

    tracks: for a cell the label that it has from a frame on, {cell: {frame: label}}; 0 is none.
    """
    side = int(np.ceil(np.sqrt(n_cells)))
    pitch = size / side
    labels = np.zeros((n_frames, size, size), np.uint16)
    for frame, image in enumerate(labels):
        for cell in range(1, n_cells + 1):
            row, column = divmod(cell - 1, side)
            number = cell
            for begin, other in sorted((tracks or {}).get(cell, {}).items()):
                number = other if frame >= begin else number
            if number:
                sway = pitch * 0.1 * np.sin(frame / 5 + cell)
                middle = round((column + 0.5) * pitch + sway), round((row + 0.5) * pitch)
                cv2.circle(image, middle, max(2, round(pitch * (0.24 + 0.05 * np.sin(cell)))), number, -1)
    return labels


def write_array(path: Path, frames: np.ndarray, kind: str, limits: tuple[float, float]) -> Frames:
    """An array of images.zarr with its display level."""
    attributes = {"missing_frames": [], "display_limits": list(limits)}
    with writing(path / "0", frames.shape, frames.dtype, kind, attributes=attributes) as append:
        for frame in frames:
            append(frame)
    cache_levels.cache_level(path / "0", path / "1")
    return open_frames(path / "0")


def write_fov(folder: Path, dataset: str, fov: int, labels: np.ndarray, *, name: str = "", seed: int = 0) -> None:
    """All that the workflow writes of a FOV and the page reads. The light of a cell grows with time and its number."""
    rng = np.random.default_rng(seed + fov)
    place = folder / dataset / f"fov_{fov:03d}"
    n_frames, height, width = labels.shape
    noise = rng.integers(0, 60, (height, width)).astype(np.uint16)
    coarse = rng.integers(0, 400, (height // 4 + 1, width // 4 + 1)).astype(np.uint16)
    texture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    inside = labels > 0
    phase = np.where(inside, 800 + texture, 1500 + noise).astype(np.uint16)
    growth = 1 + np.arange(n_frames)[:, None, None] / n_frames
    light = np.where(inside, 300 + growth * (100 + 3.0 * labels), 200 + noise).astype(np.uint16)
    tracked = write_array(place / "images.zarr/seg_tracked_ch_0", labels, LABELS, (0, int(labels.max())))
    pixels = [
        write_array(place / f"images.zarr/{channel}", frames, PIXELS, display_level.limits(frames))
        for channel, frames in (("pc_ch_0", phase), ("fl_ch_1", light))
    ]
    times = [10.0 * frame for frame in range(n_frames)]
    title = name or f"Pos{fov}"
    write_group(place / "images.zarr/zarr.json", {"name": title, "times_min": times, "channels": CHANNELS})
    cells = crop_cells.write_cells(tracked, pixels, place / "cells.zarr", crop_padding=3)
    rows = ["fov,cell,frame,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1,area_ch_0,intensity_total_ch_1"]
    edge = np.array([height, width]) - BORDER_MARGIN
    for at, cell in enumerate(cells.ids.tolist()):
        frames, boxes = np.flatnonzero(cells.valid[at]), cells.bboxes[at]
        near = (boxes[frames, :2] < BORDER_MARGIN).any() or (boxes[frames, 2:] > edge).any()
        if len(frames) < MIN_FRAMES or near:
            continue
        for frame in frames.tolist():
            y0, x0, y1, x1 = boxes[frame].tolist()
            mask = labels[frame, y0:y1, x0:x1] == cell
            total = float(light[frame, y0:y1, x0:x1][mask].sum() - 200.0 * mask.sum())
            middle = f"{(x0 + x1) / 2},{(y0 + y1) / 2},{x0},{y0},{x1},{y1}"
            rows.append(f"{fov},{cell},{frame},True,{middle},{mask.sum()},{total}")
    (place / f"{dataset}_fov_{fov:03d}_traces.csv").write_text("\n".join(rows) + "\n")


def write_dataset(
    folder: Path,
    dataset: str,
    labels: np.ndarray,
    *,
    fovs: int = 1,
    findings: tuple[str, ...] = (),
    name: str = "",
    linked: bool = False,
) -> None:
    """A dataset; its FOVs after the first one are copies of it. linked: the same files under other names."""
    write_fov(folder, dataset, 0, labels, name=name)
    for fov in range(1, fovs):
        copy = folder / dataset / f"fov_{fov:03d}"
        shutil.copytree(folder / dataset / "fov_000", copy, copy_function=os.link if linked else shutil.copy2)
        table = copy / f"{dataset}_fov_000_traces.csv"
        table.rename(copy / f"{dataset}_fov_{fov:03d}_traces.csv")
    record = {"params": {"min_frames": MIN_FRAMES, "border_margin": BORDER_MARGIN}, "channels": {}, "provenance": {}}
    (folder / dataset / "processing_config.yaml").write_text(yaml.safe_dump(record))
    (folder / dataset / "qc.csv").write_text("\n".join(["fov,frame,check,value,limit", *findings]) + "\n")
