"""What mkdocs does not do by itself: committed figures that lie outside docs/, and notebooks.

Pages name the figures as `../../experiments/results/NAME/x.png`, so that a repository host shows
them too. In the site they lie under `results/`. Each page of `notebooks/` ends with a link to
itself as a Jupyter notebook, which is made here.
"""

import posixpath
import re
import sys
from pathlib import Path

import nbformat
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent.parent))
from docs import executed

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
