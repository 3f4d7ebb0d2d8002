"""Tell the kind of a file from its first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from celltraces.errors import UserError
from celltraces.readers import damage
from celltraces.readers.czi_segments import CZI_MAGIC
from celltraces.readers.lif_file import LIF_MAGIC
from celltraces.readers.nd2_file import ND2_MAGIC
from celltraces.tiff.pages import MAGICS as TIFF_MAGICS

KINDS = {".nd2": "ND2", ".czi": "CZI", ".h5": "PYME", ".lif": "LIF"}
KINDS |= dict.fromkeys((".tif", ".tiff", ".btf", ".tf8", ".stk", ".ome", ".nd"), "TIFF")
ND2_JPEG2000_MAGIC = b"\x00\x00\x00\x0c"
HDF5_MAGIC = b"\x89HDF"
# Texts that describe the TIFFs beside them.
TEXTS = {".ome": re.compile(rb"\s*(\xef\xbb\xbf)?<(\?xml|OME)"), ".nd": re.compile(rb'\s*"NDInfoFile"')}
NO_TEXT = re.compile(rb"(?!)")
OTHER_MAGICS = {
    b"II*\0": "a TIFF file",
    b"MM\0*": "a TIFF file",
    b"II+\0": "a BigTIFF file",
    HDF5_MAGIC: "an HDF5 file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}
MAKER = {
    "ND2": "NIS-Elements",
    "CZI": "ZEN",
    "PyAMA": "PyAMA",
    "PYME": "PYME",
    "TIFF": "Fiji",
    "pattern": "Fiji",
    "OME-Zarr": "Fiji",
}
MAKER |= {"results": "this workflow", "LIF": "LAS X", "NDTiff": "Micro-Manager"}


def kind_of(path: Path) -> str:
    """Return the kind, one of KINDS, by the first bytes of the file; raise UserError for everything else."""
    expected = KINDS.get(path.suffix.lower())
    if expected is None:
        raise UserError(f"'{path}' has an unknown ending; microscopy files end in {' or '.join(KINDS)}")
    if path.is_dir():
        raise UserError(f"'{path}' is a folder; name the {expected} file itself")
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist; correct the path") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be opened ({error.strerror}); check that you may read it") from error
    if head.startswith(ND2_MAGIC):
        return "ND2"
    if head.startswith(CZI_MAGIC):
        return "CZI"
    if head.startswith(LIF_MAGIC) and expected == "LIF":
        return "LIF"
    if head.startswith(HDF5_MAGIC) and expected == "PYME":
        return "PYME"
    if expected == "TIFF" and (head[:4] in TIFF_MAGICS or TEXTS.get(path.suffix.lower(), NO_TEXT).match(head)):
        return "TIFF"
    remedy = f"name a file written by {MAKER[expected]}"
    if not head:
        reason, remedy = "it is empty", "copy it again from the microscope"
    elif head.startswith(ND2_JPEG2000_MAGIC):
        reason = "it is of the old JPEG 2000 kind"
        remedy = "open it in NIS-Elements and save it as a present-day ND2"
    else:
        names = (name for magic, name in OTHER_MAGICS.items() if head.startswith(magic))
        reason = f"it is {next(names, f'something else ({damage.begins_with(head)})')}"
        if pointer := damage.pointer(head):
            reason, remedy = f"it is {pointer[0]}", pointer[1]
    raise UserError(f"'{path}' is not a readable {expected} file: {reason}; {remedy}")
