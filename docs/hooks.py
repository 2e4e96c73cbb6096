"""What mkdocs does not do by itself: committed figures that lie outside docs/, notebooks, claims.

Pages name the figures as `../../experiments/results/NAME/x.png`, so that a repository host shows
them too. In the site they lie under `results/`. Each page of `notebooks/` ends with a link to
itself as a Jupyter notebook, which is made here. Cells of tables of claims know the headings of
their columns, which a narrow page shows beside each.
"""

import posixpath
import re
import sys
from pathlib import Path

import nbformat
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent.parent))
from docs import executed

TABLE = re.compile(r"<table>\s*<thead>.*?</table>", re.DOTALL)
CELL = re.compile(r"<(th|td)([^>]*)>(.*?)</\1>", re.DOTALL)
ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
RESULTS = Path(__file__).parent.parent / "experiments" / "results"
PLACE = re.compile(r"\((?:\.\./)+experiments/results/([^)\s]+\.png)\)")


def on_files(files, config):
    """Adds the figures and the notebooks to the files of the site."""
    for picture in sorted(RESULTS.rglob("*.png")):
        place = f"results/{picture.relative_to(RESULTS).as_posix()}"
        files.append(File.generated(config, place, abs_src_path=str(picture)))
    for page in executed.notebooks():
        book = nbformat.writes(executed.notebook(page.read_text(encoding="utf-8")))
        place = f"notebooks/{page.stem}.ipynb"
        files.append(File.generated(config, place, content=book))
    return files


def on_page_markdown(markdown, page, config, files):
    """The places of the figures as the site has them, and the link to the notebook of a page."""
    if any(page.file.src_uri == f"notebooks/{one.name}" for one in executed.notebooks()):
        stem = posixpath.splitext(posixpath.basename(page.file.src_uri))[0]
        markdown += f"\n\n[This page as a Jupyter notebook]({stem}.ipynb)\n"
    folder = posixpath.dirname(page.file.src_uri)
    return PLACE.sub(lambda m: f"({posixpath.relpath(f'results/{m[1]}', folder or '.')})", markdown)


def on_page_content(html, page, config, files):
    """The tables of claims of a page, marked for the style sheet."""
    return TABLE.sub(lambda table: _claims(table[0]), html)


def _claims(table):
    headings = [cell[3] for cell in CELL.finditer(ROW.search(table)[1])]
    if headings[0] != "claim":
        return table

    def labelled(row):
        named = iter(headings)
        return CELL.sub(
            lambda cell: (
                f'<{cell[1]}{cell[2]} data-label="{next(named)}">{cell[3]}</{cell[1]}>'
                if cell[1] == "td"
                else cell[0]
            ),
            row[0],
        )

    return ROW.sub(labelled, table).replace("<table>", '<table data-kind="claims">', 1)
