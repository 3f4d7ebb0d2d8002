"""Plan everything before any job: the checked configuration, the datasets, the arrays, what is merged and fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celltraces.config.messages import raise_mistakes
from celltraces.config.mistaken_keys import independent
from celltraces.config.read_config import Misread, examine
from celltraces.errors import Mistakes, UserError
from celltraces.paths import Layout
from celltraces.planning.calibration import flat_fields_of, shifts_of, spot_size
from celltraces.planning.channels import Arrays, arrays_of, channels_of, dataset_shapes, features_of
from celltraces.planning.corrections import Corrections, find_corrections
from celltraces.planning.dataset import Dataset
from celltraces.planning.datasets import plan_datasets
from celltraces.planning.edits import Edits, find_edits
from celltraces.planning.fits import fits_of
from celltraces.pyme.shift_field import Shift
from celltraces.results.curation import Flag, read_curation


@dataclass(frozen=True, eq=False)
class Experiment:
    """All that is planned from; looked up once, when the workflow is read."""

    config: Mapping[str, Any]  # checked and complete
    layout: Layout
    datasets: Mapping[str, Dataset]
    pc: int | None
    fl: tuple[int, ...]
    arrays: Arrays
    shifts: Mapping[int, Shift]  # by fluorescence channel
    flat: Mapping[int, str]  # by fluorescence channel: the reference image of its flat field, or "estimate"
    flags: Mapping[str, Sequence[Flag]]  # rows of curation.csv, by dataset
    corrections: Corrections
    edits: Edits  # a person's, by FOV
    columns: tuple[str, ...]  # of the traces: {feature}_ch_{channel}
    fits: Mapping[tuple[str, str], Mapping[str, Any]]  # (column, name of the model) -> settings

    @property
    def copy_only(self) -> bool:
        """Whether nothing but copying is asked for."""
        return self.config["params"]["copy_only"]

    @property
    def tracing(self) -> bool:
        """Whether there will be traces of cells."""
        return self.pc is not None and not self.copy_only

    @property
    def samples(self) -> list[str]:
        """Names of all samples."""
        return [sample["name"] for sample in self.config["samples"]]

    @property
    def merging(self) -> bool:
        """Whether there will be merged tables."""
        return bool(self.tracing and self.samples and self.columns)

    @property
    def ranked_by(self) -> str | None:
        """The column by which the report ranks the cells of which it shows some: the first of fluorescence."""
        of_light = [column for column in self.columns if not column.endswith(f"_ch_{self.pc}")]
        return next(iter([*of_light, *self.columns]), None)


def plan_experiment(
    written: Mapping[str, Any],
    without: Mapping[str, Sequence[int]] | None = None,
    of_run: bool = False,
    misread: Sequence[Misread] = (),
) -> Experiment:
    """Check a config as Snakemake read it, look at its files, and resolve everything. Changes no file.

    without: FOVs by dataset that failed, and that this run does without. of_run: whether this is the process of a job,
    which goes by the edits that its run was planned with. misread: what of the file YAML reads otherwise than a person.
    Raises UserError, a line per mistake; of those between keys and with files all that do not depend on another one.
    """
    examined = examine(written, misread)
    if not examined.mistakes:
        assert examined.config is not None
        return _planned(examined.config, without, of_run)
    mistakes = Mistakes()
    if examined.config is not None and examined.config["datasets"]:
        mistakes.attempt(_of_files, examined.config, without)
    raise_mistakes([*examined.mistakes, *independent(mistakes.lines, examined.wrong, examined.mistakes)])
    raise AssertionError("mistakes are raised")


def _of_files(
    config: Mapping[str, Any], without: Mapping[str, Sequence[int]] | None
) -> tuple[Mapping[str, Dataset], dict[str, float], dict[int, Shift], dict[int, str]]:
    """What the files say that a config names: datasets, size of spots, shift fields and flat fields."""
    mistakes = Mistakes()
    datasets = plan_datasets(config, without)
    spots = mistakes.attempt(spot_size, config, datasets)
    shifts = mistakes.attempt(shifts_of, config, datasets)
    flat = mistakes.attempt(flat_fields_of, config, datasets)
    mistakes.refuse()
    return datasets, spots or {}, shifts or {}, flat or {}


def _planned(config: dict[str, Any], without: Mapping[str, Sequence[int]] | None, of_run: bool) -> Experiment:
    """All that is planned with a complete config."""
    mistakes = Mistakes()
    mistakes.attempt(_refuse_no_folder, Path(config["output_dir"]))
    of_files = mistakes.attempt(_of_files, config, without)
    mistakes.refuse()
    assert of_files is not None
    datasets, spots, shifts, flat = of_files
    layout = Layout(config["output_dir"], config["params"]["cells_store"])
    config["params"] |= spots
    pc, fl = channels_of(datasets)
    flags = mistakes.attempt(read_curation, Path(layout.curation), dataset_shapes(datasets))
    found = mistakes.attempt(find_corrections, config, datasets)
    mistakes.refuse()
    return Experiment(
        config=config,
        layout=layout,
        datasets=datasets,
        pc=pc,
        fl=fl,
        arrays=arrays_of(config, pc, fl, shifts, flat),
        shifts=shifts,
        flat=flat,
        flags=flags or {},
        corrections=found or {},
        edits=find_edits(config, layout, datasets, of_run),
        columns=tuple(
            f"{feature}_ch_{channel}" for channel, features in features_of(config, pc, fl) for feature in features
        ),
        fits=fits_of(config, datasets),
    )


def _refuse_no_folder(results: Path) -> None:
    """Raise UserError where the results would lie below a file. Whether a folder can be written, the run finds out."""
    there = next((place for place in (results, *results.parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise UserError(f"output_dir: cannot write to {str(results)!r} ({str(there)!r} is a file); name a folder")
