"""Read and write PYME metadata: values by dotted names (`voxelsize.x`) in .json, .md, .xml or HDF5.

Names and values are checked both ways: PYME evaluates names and executes .md files, we do neither. Values are bool,
int, float (finite), text without control characters, and lists of these; tuples come back as lists.
"""

from __future__ import annotations

import ast
import base64
import json
import keyword
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from celltraces.errors import UserError
from celltraces.metadata import refuse_declarations
from celltraces.storage import safe_unpickling
from celltraces.storage.hdf5 import new_group

if TYPE_CHECKING:
    import h5py

Value = Any  # bool | int | float | str | list[Value]
Metadata = Mapping[str, Value]

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}(\.[A-Za-z][A-Za-z0-9_]{0,59}){0,9}")
# What PYME's handlers and PyTables call themselves: an entry of this name would hide it.
TAKEN = {
    *("get", "items", "keys", "values", "pop", "popitem", "clear", "update", "setdefault", "tformat", "getEntry"),
    *("setEntry", "getEntryNames", "getOrDefault", "copyEntriesFrom", "mergeEntriesFrom", "GetSimpleString"),
    *("WriteSimple", "to_JSON", "record_pyme_version", "voxelsize_nm", "writeXML"),
    *("CLASS", "VERSION", "TITLE", "NROWS", "EXTDIM", "ENCODING", "PYTABLES_FORMAT_VERSION", "FLAVOR", "FILTERS"),
    *("AUTO_INDEX", "DIRTY", "NODE_TYPE", "NODE_TYPE_VERSION", "PSEUDOATOM"),
}
LARGEST = 16 << 20  # bytes of a file of metadata
FIRST_LINE = "#PYME Simple Metadata v1"
ENDINGS = (".xml", ".md", ".json")  # in the order in which PYME looks for them beside an image


def checked_metadata(metadata: Metadata) -> dict[str, Value]:
    """The metadata by name. Raises ValueError, naming the entry, for what cannot be written or must not be read."""
    for name in metadata:
        parts = name.split(".") if isinstance(name, str) else []
        if not parts or not NAME.fullmatch(name) or any(keyword.iskeyword(part) or part in TAKEN for part in parts):
            raise ValueError(f"the name {str(name)[:60]!r} is not allowed")
        if any(".".join(parts[:depth]) in metadata for depth in range(1, len(parts))):
            raise ValueError(f"the name {name!r} begins with another name")
    return {name: _checked_value(name, metadata[name]) for name in sorted(metadata)}


def _checked_value(name: str, value: Any, depth: int = 0) -> Value:
    if isinstance(value, list | tuple) and depth < 10:
        return [_checked_value(name, item, depth + 1) for item in value]
    fits = isinstance(value, bool | str) or (isinstance(value, int) and abs(value) < 2**63)
    fits |= isinstance(value, float) and math.isfinite(value)
    if not fits or (isinstance(value, str) and re.search(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", value)):
        raise ValueError(f"the value of {name!r} is neither number, text nor list")
    return value


# -------------------------------------------------------------------------------------------------- beside an image


def to_json(metadata: Metadata) -> str:
    """Write metadata as PYME's .json, sorted by name."""
    return json.dumps(checked_metadata(metadata), indent=2, sort_keys=True)


def to_md(metadata: Metadata) -> str:
    """Write metadata as PYME's .md: a line `md['name'] = literal` each."""
    lines = [f"md[{name!r}] = {value!r}" for name, value in checked_metadata(metadata).items()]
    return "\n".join([FIRST_LINE, *lines, ""])


def to_xml(metadata: Metadata) -> str:
    """Write metadata as PYME's .xml."""
    root = ElementTree.Element("PYMEImageData")
    top = ElementTree.SubElement(root, "MetaData")
    for name, value in checked_metadata(metadata).items():
        node = top
        for part in name.split("."):
            below = node.find(part)
            node = ElementTree.SubElement(node, part) if below is None else below
        # There a bool is an int whose value is True; a list is the base64 of a pickle.
        kind = "unicode" if isinstance(value, str) else "float" if isinstance(value, float) else "int"
        if isinstance(value, list):
            kind, value = "pickle", base64.b64encode(pickle.dumps(value, 2)).decode()
        node.set("class", kind)
        node.set("value", str(value))
    return '<?xml version="1.0" ?>' + ElementTree.tostring(root, encoding="unicode")


def from_json(text: str) -> dict[str, Value]:
    """Read PYME's .json. Raises ValueError where it is no object."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return checked_metadata(found)


def from_md(text: str) -> dict[str, Value]:
    """Lines `md['name'] = literal`; anything else is refused, not executed."""
    found: dict[str, Value] = {}
    for statement in ast.parse(text).body:
        match statement:
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id="md"), slice=ast.Constant(value=str(name)))], value=value
            ):
                found[name] = ast.literal_eval(value)
            case _:
                raise ValueError(f"line {statement.lineno} is no md['name'] = value")
    return checked_metadata(found)


def from_xml(text: str) -> dict[str, Value]:
    """Read PYME's .xml. Raises ValueError where it declares a document type or entities."""
    refuse_declarations(text)
    top = ElementTree.fromstring(text).find("MetaData")
    if top is None:
        raise ValueError("it has no MetaData")
    found: dict[str, Value] = {}
    waiting = [(child, child.tag) for child in top]
    while waiting:
        node, name = waiting.pop()
        if len(node):
            waiting += [(child, f"{name}.{child.tag}") for child in node]
        else:
            found[name] = _xml_value(node.get("class"), node.get("value", ""))
    return checked_metadata(found)


def _xml_value(kind: str | None, value: str) -> Value:
    if kind in ("int", "float") and value in ("True", "False"):
        return value == "True"
    if kind == "int":
        return int(value)
    if kind == "float":
        return float(value)
    if kind == "pickle":
        return safe_unpickling.load(base64.b64decode(value))
    return value


def read_beside(image: Path) -> dict[str, Value]:
    """The metadata file beside an image, as PYME looks for it; {} if there is none. Raises UserError for a bad one."""
    for ending, read in zip(ENDINGS, (from_xml, from_md, from_json), strict=True):
        path = image.with_suffix(ending)
        if path.is_file():
            try:
                if path.stat().st_size > LARGEST:
                    raise ValueError("it is too large")
                return read(path.read_text(encoding="utf-8"))
            except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
                reason = " ".join(str(error).split())[:150] or type(error).__name__
                raise UserError(f"'{path}' is no readable PYME metadata: {reason}; correct or remove it") from error
    return {}


# -------------------------------------------------------------------------------------------------------- inside HDF5


def write_groups(file: h5py.File, metadata: Metadata) -> None:
    """/MetaData: a group for each dot, values as attributes, encoded as PyTables does it."""
    top = new_group(file, "MetaData")
    for name, value in checked_metadata(metadata).items():
        group = top
        *parts, last = name.split(".")
        for part in parts:
            group = group[part] if part in group else new_group(group, part)
        write_attribute(group, last, value)


def write_attribute(node: h5py.Group | h5py.Dataset, name: str, value: Value) -> None:
    """Write one value as PYME does: lists as a pickle, which PYME reads."""
    import h5py

    if isinstance(value, bool):
        # h5py's own bool is an enumeration, which PyTables reads as None
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        attribute = h5py.h5a.create(node.id, name.encode(), h5py.h5t.STD_B8LE, space)
        attribute.write(np.array(value, np.uint8), mtype=h5py.h5t.STD_B8LE)
    elif isinstance(value, str):
        if value:
            data = value.encode()
            node.attrs.create(name, np.array(data, h5py.string_dtype("utf-8", len(data))))
        else:
            node.attrs.create(name, h5py.Empty(h5py.string_dtype("utf-8", 1)))
    elif isinstance(value, list):
        node.attrs.create(name, np.bytes_(pickle.dumps(value, 0)))
    else:
        node.attrs.create(name, np.float64(value) if isinstance(value, float) else np.int64(value))


def read_attribute(node: Any, name: str) -> Value:
    """One attribute, None if it is not there. Raises ValueError for what is neither number, text nor a list."""
    import h5py

    if name not in node.attrs:
        return None
    attribute = h5py.h5a.open(node.id, name.encode())
    if attribute.get_type().get_class() == h5py.h5t.BITFIELD:
        return bool(node.attrs[name])
    value = node.attrs[name]
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, bytes):  # np.bytes_ too: text, or what PyTables has pickled
        if value.endswith(b"."):
            try:
                return safe_unpickling.load(value)
            except safe_unpickling.Refused:
                raise
            except ValueError:
                pass
        return value.decode()
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufb":
        return value.item() if value.size == 1 else value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def hard(file: Any, name: str, kind: type) -> Any:
    """What a file itself holds under a name, None if there is nothing; links to other places are not followed."""
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        return None
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, kind):
        raise ValueError(f"its {name} is no {kind.__name__.lower()} of its own")
    return found
