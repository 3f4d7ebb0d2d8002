"""Write ND2 files (version 3.0) plane by plane: positions, time, Z and channels, in any order of the loops.

The layout was worked out from what the reader `nd2` parses and from the metadata of real files; no Nikon code is
used. Files of this writer were read right by `nd2`, by Laboratory Imaging's limnd2, and by Nikon's own SDK (2014).

    chunk := u32 magic, u32 length of the name field, u64 length of the data, name (NUL padded), data
    1. the signature chunk
    2. metadata chunks ("CLX Lite variant" trees): attributes, loops, channels and calibration, text
    3. per frame: f64 milliseconds, then (Y, X, C) pixels with the channels interleaved
    4. acquisition times (ms) and stage positions (um), one value per frame
    5. the chunk map: name, u64 offset, u64 length of every chunk, then the offset of the map itself
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

MAGIC = 0x0ABECEDA
PAGE = 4096  # every chunk begins on one
FRAME_NAME_LENGTH = PAGE - 16 - 8  # so that the pixels of a frame begin on a page too
JULIAN_DAY = 2461000.5  # of the start; a constant, so that the same movie gives the same bytes

Plane = Callable[[int, int, int, int], np.ndarray | None]
"""plane(fov, frame, channel, z): (height, width) pixels, or None for a plane that was not taken."""


class Channel(NamedTuple):
    """One channel: its name, its display colour, and its wavelengths if it is fluorescent."""

    name: str
    rgb: tuple[int, int, int] = (255, 255, 255)
    excitation_nm: float = 0.0
    emission_nm: float = 0.0


class Position(NamedTuple):
    """One stage position; one that is not `valid` is listed in the file but was switched off: no FOV belongs to it."""

    name: str
    x_um: float = 0.0
    y_um: float = 0.0
    z_um: float = 0.0
    valid: bool = True


def write_nd2(
    path: Path,
    plane: Plane,
    *,
    n_fovs: int,
    n_frames: int,
    height: int,
    width: int,
    channels: Sequence[Channel],
    n_z: int = 1,
    dtype: DTypeLike = np.uint16,
    samples: int = 1,
    loops: str = "TP",
    positions: Sequence[Position] | None = None,
    pixel_um: float | None = 0.65,
    period_ms: float = 600_000.0,
    phases: Sequence[tuple[int, float]] | None = None,
    times_ms: Callable[[int, int], float] | None = None,
    compress: bool = False,
    exposures_ms: Sequence[float] | None = None,
    camera_turned: bool = False,
) -> None:
    """Write one ND2 file, asking for each plane once and keeping one frame (all channels) in memory.

    loops: nesting of the loops from the outermost, letters of T, P, Z ("TP" is what NIS-Elements does by itself);
    an axis of length 1 may be left out. Where `plane` gives None for every channel the frame is left out of the
    file, as NIS-Elements does for an acquisition that was stopped; for some channels, these are stored as zeros,
    as it does for channels that skip time points. times_ms(fov, frame): the time stamps, None to store none.
    phases: (frames, period in ms) of an acquisition in several phases instead of one period. samples: 3 for
    colour, then a plane is (height, width, 3). dtype: uint8, uint16 or float32. compress: lossless.
    exposures_ms: of each channel. camera_turned: by 90 degrees against the stage.
    """
    sizes = {"T": n_frames, "P": n_fovs, "Z": n_z}
    if any(size > 1 and axis not in loops for axis, size in sizes.items()):
        raise ValueError(f"loops {loops!r} leave out an axis that is longer than 1")
    dtype = np.dtype(dtype).newbyteorder("<")
    positions = positions or [Position(f"Pos{fov:03d}", 1000.0 * fov) for fov in range(n_fovs)]
    taken = [position for position in positions if position.valid]
    if len(taken) != n_fovs:
        raise ValueError(f"{len(taken)} valid positions for {n_fovs} FOVs")
    n_samples = len(channels) * samples

    sequence = [
        {"T": 0, "P": 0, "Z": 0, **dict(zip(loops, index, strict=True))}
        for index in itertools.product(*(range(sizes[axis]) for axis in loops))
    ]
    stamps = [times_ms(at["P"], at["T"]) if times_ms else at["T"] * period_ms for at in sequence]

    with open(path, "wb") as file:
        chunks: list[tuple[bytes, int, int]] = []
        _write_chunk(file, b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32)

        def add(name: bytes, data: bytes, name_length: int | None = None) -> None:
            chunks.append((name, _write_chunk(file, name, data, name_length), len(data)))

        attributes = _attributes(height, width, n_samples, len(sequence), dtype, compress)
        add(b"ImageAttributesLV!", _encode(attributes))
        experiment = _experiment(loops, sizes, positions, period_ms, phases)
        if experiment:
            add(b"ImageMetadataLV!", _encode({"SLxExperiment": experiment}))
        add(
            b"ImageMetadataSeqLV|0!",
            _encode(_picture_metadata(channels, samples, pixel_um, exposures_ms, camera_turned)),
        )
        add(b"ImageCalibrationLV|0!", _encode(_calibration(pixel_um)))

        n_taken = 0
        pixels = np.empty((height, width, len(channels), samples), dtype)
        for number, at in enumerate(sequence):
            planes = [plane(at["P"], at["T"], channel, at["Z"]) for channel in range(len(channels))]
            if all(image is None for image in planes):
                continue
            n_taken = number + 1
            for channel, image in enumerate(planes):
                pixels[:, :, channel] = 0 if image is None else image.reshape(height, width, samples)
            data = zlib.compress(pixels.tobytes()) if compress else pixels.tobytes()
            add(b"ImageDataSeq|%d!" % number, struct.pack("<d", stamps[number]) + data, FRAME_NAME_LENGTH)

        add(b"ImageTextInfoLV!", _encode(_text_info()))
        add(b"CustomDataVar|CustomDataV2_0!", _encode(_custom_tags(len(sequence))))
        stage = np.array([taken[at["P"]][1:4] for at in sequence], "<f8")
        for name, column in zip((b"X", b"Y", b"Z"), stage.T, strict=True):
            add(b"CustomData|%s!" % name, column.tobytes())
        if times_ms:
            add(b"CustomData|AcqTimesCache!", np.array(stamps[:n_taken], "<f8").tobytes())

        entries = b"".join(name + struct.pack("<QQ", start, length) for name, start, length in chunks)
        start = file.tell() + -file.tell() % PAGE
        tail = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", start)
        _write_chunk(file, b"ND2 FILEMAP SIGNATURE NAME 0001!", entries + tail, 32)


def _write_chunk(file: IO[bytes], name: bytes, data: bytes, name_length: int | None = None) -> int:
    """Write a chunk at the next page and return where it begins; by default the name is padded to fill whole pages."""
    file.write(bytes(-file.tell() % PAGE))
    start = file.tell()
    if name_length is None:
        name_length = len(name) + -(16 + len(name) + len(data)) % PAGE
    file.write(struct.pack("<IIQ", MAGIC, name_length, len(data)) + name.ljust(name_length, b"\0"))
    file.write(data)
    return start


# ---------------------------------------------------------------------------------------------------------------
# "CLX Lite variant": trees of named values


class _U32(int):
    pass


class _U64(int):
    pass


def _encode(tree: dict[str, Any]) -> bytes:
    """Encode the items of the tree one after the other."""
    return b"".join(encode_item(name, value) for name, value in tree.items())


def encode_item(name: str, value: Any) -> bytes:
    """Encode one value: type (u8), length of the name (u8), name in UTF-16 with its NUL, value. Lists are nameless."""
    letters = (name + "\0").encode("utf-16-le")

    def head(kind: int) -> bytes:
        return struct.pack("<BB", kind, len(letters) // 2) + letters

    if isinstance(value, bool):
        return head(1) + struct.pack("<B", value)
    if isinstance(value, _U64):
        return head(5) + struct.pack("<Q", value)
    if isinstance(value, _U32):
        return head(3) + struct.pack("<I", value)
    if isinstance(value, int):
        return head(2) + struct.pack("<i", value)
    if isinstance(value, float):
        return head(6) + struct.pack("<d", value)
    if isinstance(value, str):
        return head(8) + (value + "\0").encode("utf-16-le")
    if isinstance(value, bytes):
        return head(9) + struct.pack("<Q", len(value)) + value
    items = list(value.items()) if isinstance(value, dict) else [("", element) for element in value]
    parts = [encode_item(*item) for item in items]
    # lengths and offsets count from the first byte of this level
    first = len(head(11)) + 12
    ends = list(itertools.accumulate((len(part) for part in parts), initial=first))
    # Nikon's SDK looks the names up in this index: it must be sorted by name (nd2 and limnd2 do not read it)
    index = sorted(zip((name for name, _ in items), ends[:-1], strict=True), key=lambda entry: entry[0])
    offsets = b"".join(struct.pack("<Q", offset) for _, offset in index)
    return head(11) + struct.pack("<IQ", len(parts), ends[-1]) + b"".join(parts) + offsets


# ---------------------------------------------------------------------------------------------------------------
# the metadata


def _attributes(height: int, width: int, samples: int, n_frames: int, dtype: np.dtype, compress: bool) -> dict:
    bits = 8 * dtype.itemsize
    return {
        "SLxImageAttributes": {
            "uiWidth": _U32(width),
            "uiWidthBytes": _U32(width * samples * dtype.itemsize),
            "uiHeight": _U32(height),
            "uiComp": _U32(samples),
            "uiBpcInMemory": _U32(bits),
            "uiBpcSignificant": _U32(bits),
            "uiSequenceCount": _U32(n_frames),
            "uiTileWidth": _U32(width),
            "uiTileHeight": _U32(height),
            "eCompression": 0 if compress else 2,
            "dCompressionParam": 0.0,
            "ePixelType": 1,
            "uiVirtualComponents": _U32(samples),
        }
    }


def _experiment(
    loops: str,
    sizes: dict[str, int],
    positions: Sequence[Position],
    period_ms: float,
    phases: Sequence[tuple[int, float]] | None,
) -> dict | None:
    """Return the nested loops, outermost first; None where there are none."""
    node: dict | None = None
    for axis in reversed(loops):
        if axis == "P":
            level = _position_loop(positions)
        elif axis == "Z":
            level = _z_loop(sizes["Z"])
        elif phases:
            level = _phases_loop(phases)
        else:
            level = {"eType": 1, "wsApplicationDesc": "", "uLoopPars": _period(sizes["T"], period_ms)}
        level |= {"uiRepeatCount": _U32(1), "uiNextLevelCount": _U32(1 if node else 0)}
        if node:
            level["ppNextLevelEx"] = [node]
        node = level
    return node


def _period(n_frames: int, period_ms: float) -> dict:
    return {
        "uiCount": _U32(n_frames),
        "dStart": 0.0,
        "dPeriod": float(period_ms),
        "dDuration": float(period_ms * max(n_frames - 1, 0)),
        "bDurationPref": False,
        "dMaxPeriodDiff": 0.0,
        "dMinPeriodDiff": 0.0,
        "dAvgPeriodDiff": float(period_ms),
    }


def _phases_loop(phases: Sequence[tuple[int, float]]) -> dict:
    periods = {f"i{number:010d}": _period(*phase) for number, phase in enumerate(phases)}
    return {
        "eType": 8,
        "wsApplicationDesc": "",
        "uLoopPars": {
            "uiCount": _U32(sum(count for count, _ in phases)),
            "uiPeriodCount": _U32(len(phases)),
            "pPeriod": periods,
            "pPeriodValid": b"\1" * len(phases),
        },
    }


def _position_loop(positions: Sequence[Position]) -> dict:
    points = [
        {
            "dPosX": float(position.x_um),
            "dPosY": float(position.y_um),
            "dPosZ": float(position.z_um),
            "dPFSOffset": -1.0,
            "dPosName": position.name,
        }
        for position in positions
    ]
    return {
        "eType": 2,
        "uLoopPars": {
            "uiCount": _U32(len(points)),
            "bRelativeXY": False,
            "bUseZ": True,
            "dReferenceX": 0.0,
            "dReferenceY": 0.0,
            "Points": points,
        },
        "pItemValid": bytes(position.valid for position in positions),
    }


def _z_loop(n_z: int) -> dict:
    return {
        "eType": 4,
        "wsApplicationDesc": "",
        "uLoopPars": {
            "uiCount": _U32(n_z),
            "dZLow": 0.0,
            "dZHigh": float(n_z - 1),
            "dZStep": 1.0,
            "dZHome": 0.0,
            "bZInverted": False,
            "iType": 0,
            "wsZDevice": "",
        },
    }


def _channel(channel: Channel, samples: int) -> dict:
    def spectrum(nm: float) -> dict:
        point = {"eType": 4, "dWavelength": float(nm), "dTValue": 1.0}
        return {"uiCount": _U32(1), "pPoint": {"Point0": point}, "bPoints": False}

    nothing = {"uiCount": _U32(0), "bPoints": False}
    red, green, blue = channel.rgb
    # camera + fluorescence, or camera + brightfield + phase contrast
    modality = 0x101 if channel.emission_nm else 0x112
    return {
        "uiCompCount": _U32(samples),
        "uiSampleIndex": _U32(0),
        "uiModalityMask": _U64(modality),
        "pFluorescentProbe": {
            "m_sName": "",
            "m_uiColor": _U32(0xFFFFFF),
            "m_ExcitationSpectrum": nothing,
            "m_EmissionSpectrum": nothing,
        },
        "pFilterPath": {
            "m_sDescr": "",
            "m_uiCount": _U32(1),
            "m_pFilter": [
                {
                    "m_sName": "",
                    "m_ePlacement": 6,
                    # no spectrum is one point at 0 nm in real files too
                    "m_ExcitationSpectrum": spectrum(channel.excitation_nm),
                    "m_EmissionSpectrum": spectrum(channel.emission_nm),
                }
            ],
        },
        "uiColor": _U32(red | green << 8 | blue << 16),
        "sDescription": channel.name,
        "dAcqTime": 0.0,
        "dPinholeDiameter": -1.0,
    }


def _picture_metadata(
    channels: Sequence[Channel],
    samples: int,
    pixel_um: float | None,
    exposures_ms: Sequence[float] | None,
    camera_turned: bool,
) -> dict:
    planes = {f"a{number}": _channel(channel, samples) for number, channel in enumerate(channels)}
    settings = {f"a{number}": {"dExposureTime": float(ms)} for number, ms in enumerate(exposures_ms or [0.0])}
    for number in range(len(exposures_ms or ())):
        planes[f"a{number}"]["uiSampleIndex"] = _U32(number)
    turned = {"dStgLgCT11": 0.0, "dStgLgCT12": -1.0, "dStgLgCT21": 1.0, "dStgLgCT22": 0.0} if camera_turned else {}
    return {
        "SLxPictureMetadata": {
            "dTimeMSec": 0.0,
            "dTimeAbsolute": JULIAN_DAY,
            "eTimeSource": 0,
            "dXPos": 0.0,
            "dYPos": 0.0,
            "dZPos": 0.0,
            "sPicturePlanes": {
                "uiCount": _U32(len(channels)),
                "uiCompCount": _U32(len(channels) * samples),
                "sPlaneNew": planes,
                "uiSampleCount": _U32(len(settings)),
                "sSampleSetting": settings,
            },
            **turned,
            "bCalibrated": pixel_um is not None,
            "dCalibration": 1.0 if pixel_um is None else float(pixel_um),
            "dAspect": 1.0,
            "dCalibPrecision": 0.0,
            "wsObjectiveName": "Plan Fluor 10x",
            "dObjectiveMag": 10.0,
            "dObjectiveNA": 0.3,
            "dRefractIndex1": 1.0,
            "dRefractIndex2": 1.0,
            "dPinholeRadius": -1.0,
            "dZoom": 1.0,
            "dProjectiveMag": -1.0,
        }
    }


def _calibration(pixel_um: float | None) -> dict:
    return {
        "SLxCalibration": {
            "bCalibrated": pixel_um is not None,
            "dAspect": 1.0,
            "dCalibration": 1.0 if pixel_um is None else float(pixel_um),
            "wsObjective": "Plan Fluor 10x",
            "uiUnit": _U32(0),
        }
    }


def _text_info() -> dict:
    info = {f"TextInfoItem_{number}": "" for number in range(15)}
    info |= {"TextInfoItem_5": "simulated movie", "TextInfoItem_14": "synthetic (not written by NIS-Elements)"}
    return {"SLxImageTextInfo": info}


def _custom_tags(n_frames: int) -> dict:
    tags = {
        f"Tag{number}": {"ID": axis, "Type": 3, "Group": 1, "Size": n_frames, "Desc": f"{axis} Coord", "Unit": "µm"}
        for number, axis in enumerate("XYZ")
    }
    return {"CustomTagDescription_v1.0": tags}
