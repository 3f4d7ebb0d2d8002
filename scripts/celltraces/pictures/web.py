"""Name what our pages share: the files with colours, words and functions of their scripts, and the address of one."""

from pathlib import Path

STYLE, SCRIPT = (Path(__file__).parent / name for name in ("shared.css", "shared.js"))
FILES = (STYLE, SCRIPT)
CURATION_PORT = 8731  # of the page on which cells are corrected, unless it is taken: links of reports lead there
CURATION_PAGE = f"http://127.0.0.1:{CURATION_PORT}/"
