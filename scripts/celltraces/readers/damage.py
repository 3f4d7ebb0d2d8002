"""Say in one line why a file cannot be read, and refuse texts that stand for files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from celltraces.errors import UserError

# Small texts that Git keeps in the place of large files: first bytes -> what it is, and the command that fetches them.
POINTERS = {
    b"version https://git-lfs": ("a Git LFS pointer, which stands for a file that was not downloaded", "git lfs pull"),
    b"/annex/objects/": ("a git-annex pointer, which stands for a file that was not downloaded", "git annex get"),
}
LONGEST = 200  # characters of a library's message


def pointer(head: bytes) -> tuple[str, str] | None:
    """Return what a file with these first bytes (24 or more) is and what to do if it stands for another, else None."""
    for magic, (what, command) in POINTERS.items():
        if head.startswith(magic):
            return what, f"fetch the file itself with `{command}`"
    return None


def refuse_pointer(path: Path) -> None:
    """Raise UserError for a file that is a text in the place of one that was not downloaded."""
    with open(path, "rb") as file:
        if found := pointer(file.read(64)):
            raise UserError(f"'{path}' is {found[0]}; {found[1]}")


def begins_with(head: bytes) -> str:
    """Return the first bytes of a file of unknown kind as a person can read them."""
    try:
        text = head.decode("utf-8").splitlines()[0].strip()
    except (UnicodeDecodeError, IndexError):
        text = ""
    if text.isprintable() and text:
        return f"text that begins with {text!r}"
    return f"it begins with the bytes {head[:8].hex(' ')}"


def reason(error: Exception) -> str:
    """Return in one line what an exception that was raised while a file was read says about the file.

    What Python says when a library meets what it did not expect is not for people ("'NoneType' object has no ...").
    """
    text = " ".join(str(error).split())[:LONGEST] or type(error).__name__
    if isinstance(error, KeyError):
        return f"it lacks {text.strip(chr(34)).partition(' not found in ')[0]}"
    if isinstance(error, UnicodeError):
        return "a text in its metadata is damaged"
    if isinstance(error, SyntaxError):
        return f"its metadata are damaged ({text})"
    if isinstance(error, ValueError | OSError):
        return text
    meanings = {
        MemoryError: "it asks for more memory than there is",
        struct.error: "a part of it is shorter than it says",
        zlib.error: "its compressed data are damaged",
        NotImplementedError: "it has a part of a kind that is not known",
    }
    return meanings.get(type(error), "its metadata are incomplete or damaged")
