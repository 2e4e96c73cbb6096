"""What mkdocs does not do by itself: shows the committed figures, which lie outside docs/.

Pages name them as `../../experiments/results/NAME/x.png`, so that a repository host shows them too.
In the site they lie under `results/`.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

RESULTS = Path(__file__).parent.parent / "experiments" / "results"
PLACE = re.compile(r"\((?:\.\./)+experiments/results/([^)\s]+\.png)\)")


def on_files(files, config):
    """Adds the figures to the files of the site."""
    for picture in sorted(RESULTS.rglob("*.png")):
        place = f"results/{picture.relative_to(RESULTS).as_posix()}"
        files.append(File.generated(config, place, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    """The places of the figures as the site has them."""
    folder = posixpath.dirname(page.file.src_uri)
    return PLACE.sub(lambda m: f"({posixpath.relpath(f'results/{m[1]}', folder or '.')})", markdown)
