"""Name the files that all pages of ours share: colours and words, and functions of the page's script."""

from pathlib import Path

STYLE, SCRIPT = (Path(__file__).parent / name for name in ("shared.css", "shared.js"))
FILES = (STYLE, SCRIPT)
