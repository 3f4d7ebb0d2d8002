"""Write the group metadata of one FOV's images.zarr: OME-NGFF 0.5 with axes, pixel size and times.

Light on purpose: it imports no array library.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celltraces import paths
from celltraces.runs import job
from celltraces.storage.groups import write_group


def multiscales(name: str, scales: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of one channel's group. `scales` is what planning knows of the FOV (planning.job_settings.scales).

    Level 1 is another dtype on another scale and stays out of the list, which is for measured values.
    """
    pixel = scales["pixel_size_um"]
    times = scales["times_min"]
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
    space = {"type": "space", "unit": "micrometer"} if pixel else {"type": "space"}
    channel = name.rsplit("_", 1)[1]
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [step, pixel or 1.0, pixel or 1.0]}]
    if times and times[0]:  # times count from the first frame of the file, which may be another FOV's
        transformations.append({"type": "translation", "translation": [times[0], 0.0, 0.0]})
    image: dict[str, Any] = {
        "name": f"{name} ({scales['channels'].get(channel, '')})",
        "axes": [
            {"name": "t", "type": "time", "unit": "minute"},
            {"name": "y", **space},
            {"name": "x", **space},
        ],
        "datasets": [{"path": "0", "coordinateTransformations": transformations}],
    }
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [image]}
    if paths.is_labels(name):
        ome["image-label"] = {"source": {"image": f"../{paths.pc(int(channel))}"}}
    return {"ome": ome}


def main(root: str | None, groups: Sequence[str], scales: Mapping[str, Any]) -> None:
    for group in map(Path, groups):
        write_group(group, multiscales(group.parent.name, scales))
    if root:
        attributes = ["name", "channels", "pixel_size_um", "times_min", "times_from"]
        attributes += ["position_um"] if scales["position_um"] else []
        write_group(Path(root), {key: scales[key] for key in attributes})
    job.log.info("%d channels, times from %s", len(groups), scales["times_from"])


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.output.get("root"), snakemake.output.channels, settings["scales"])
