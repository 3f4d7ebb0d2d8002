"""Settings of Sphinx: `make docs` makes pages of README.md and docs/*.md, which are also read as they are.

Its source is the whole repository, so that links between pages, and from pages to other files, are the same in both.
"""

from pathlib import Path

project = "celltraces"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md", "docs/*.md"]
exclude_patterns = [".*", "benchmarks", "demo", "results", "rules", "scripts", "site", "tests"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "From microscopy to single-cell traces"
html_copy_source = False
html_show_sphinx = False
pygments_style = "default"

# The menu. Every page of docs/ is in it, or the build fails.
MENU = {
    "Use": "preview report comparison results checks curation decisions pictures terminal",
    "Configure": "parameters inputs formats plugins cluster from_pyama",
    "Methods": "choosing methods segmentation tracking fluorescence fitting evaluation references cost glossary",
    "Develop": "code libraries",
}
ELSEWHERE = {"Configure": ["config/README"], "Develop": ["CONTRIBUTING", "CHANGELOG"]}


def add_menu(app, docname, source):
    """Append the menu to README.md, which has none as a plain file."""
    if docname == root_doc:
        for caption, names in MENU.items():
            pages = [f"docs/{name}" for name in names.split()] + ELSEWHERE.get(caption, [])
            there = "\n".join(page for page in pages if Path(app.srcdir, f"{page}.md").exists())
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{there}\n```\n"


def setup(app):
    app.connect("source-read", add_menu)
