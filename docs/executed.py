"""Pages that are run as notebooks: what their code prints and draws stands below it, by a command.

    python -m docs.executed [--check] [PAGE...]

A page is Markdown with blocks of Python. They are the cells of one Jupyter notebook, run in turn by
a kernel of its own in an empty folder; one that begins with `# name.py` is a file, written there.
Below each block that printed something, or ended in a figure, both stand between
`<!-- output -->` and `<!-- end -->`; figures lie in a folder named as the page. A comment after the
last line of a block that draws is the text in place of the picture. Without pages all of
`docs/notebooks` and `docs/guides` are run. `--check` writes nothing, and fails where a page shows
something else.

Numbers of another machine differ a little: training is compared as closely as `same` says, and not
at all where a page says `<!-- output: varies -->`.
"""

import base64
import io
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n<!-- output(?P<how>|: varies) -->\n(?P<shown>.*?)<!-- end -->\n)?",
    re.DOTALL | re.MULTILINE,
)
FILE = re.compile(r"# (\w+\.py)\n")
COMMENT = re.compile(r".*?  # (.+)$")
NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def notebooks() -> list[Path]:
    """The pages of notebooks."""
    return _with_code("notebooks")


def pages() -> list[Path]:
    """The pages that are run: every notebook, and guides with Python in them."""
    return [*notebooks(), *_with_code("guides")]


def _with_code(folder: str) -> list[Path]:
    found = sorted((DOCS / folder).glob("*.md"))
    return [page for page in found if BLOCK.search(page.read_text(encoding="utf-8"))]


def notebook(text: str) -> nbformat.NotebookNode:
    """The notebook of a page's text, without outputs."""
    cells, at = [], 0
    for block in BLOCK.finditer(text):
        _add_prose(cells, text[at : block.start()])
        code = block["code"]
        if named := FILE.match(code):
            code = f"%%writefile {named[1]}\n{code}"
        cells.append(nbformat.v4.new_code_cell(code.rstrip("\n")))
        at = block.end()
    _add_prose(cells, text[at:])
    for place, cell in enumerate(cells):
        cell["id"] = f"cell-{place}"  # drawn ones would make two notebooks of one page
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": python})


def _add_prose(cells: list, text: str) -> None:
    if text.strip():
        cells.append(nbformat.v4.new_markdown_cell(text.strip()))


def run(book: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a kernel that runs it in a folder.

    Raises nbclient's CellExecutionError for what a cell raises.
    """
    from nbclient import NotebookClient  # the site, which needs no kernel, imports this file

    paths = [str(DOCS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    # As at a user's: what the tests tell JAX of their own is not for pages.
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))
    }
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    ours |= {"PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu", "AE_JAX_REPORT": "0"}
    ours |= {"JAX_COMPILATION_CACHE_DIR": cache} if cache else {}
    client = NotebookClient(
        book,
        kernel_name="python3",
        timeout=600,
        startup_timeout=300,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(env=ours)


def outputs(book: nbformat.NotebookNode) -> list[tuple[str, list[bytes]]]:
    """What each code cell printed or ended in, and its figures as PNG."""
    return [_output(cell) for cell in book.cells if cell.cell_type == "code"]


def _output(cell: nbformat.NotebookNode) -> tuple[str, list[bytes]]:
    printed, figures = [], []
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stdout" and not cell.source.startswith("%%writefile"):
                printed.append(output.text)
            elif "Warning" in output.text:
                raise RuntimeError(f"a page warns:\n{output.text}")
        elif picture := output.data.get("image/png"):
            figures.append(base64.b64decode(picture))
        else:
            printed.append(output.data["text/plain"] + "\n")
    return "".join(printed), figures


def rendered(text: str, found: Sequence[tuple[str, list[bytes]]], name: str) -> tuple[str, dict]:
    """The text of the page called `name` with what was found below each block.

    Also the figures by their file names.
    """
    left, pictures = list(found), {}

    def write(block: re.Match) -> str:
        printed, figures = left.pop(0)
        parts = [f"```text\n{printed.rstrip()}\n```\n"] if printed.strip() else []
        for figure in figures:
            file = f"{len(pictures) + 1}.png"
            pictures[file] = figure
            comment = COMMENT.match(block["code"].rstrip("\n").rpartition("\n")[2])
            if comment is None:
                raise ValueError(f"{name}: the figure of a block has no words:\n{block['code']}")
            parts.append(f"![{comment[1]}]({name}/{file})\n")
        code = f"```python\n{block['code']}```\n"
        if not parts:
            return code
        return (
            f"{code}\n<!-- output{block['how'] or ''} -->\n\n"
            + "\n".join(parts)
            + "\n<!-- end -->\n"
        )

    return BLOCK.sub(write, text), pictures


def differences(text: str, again: str) -> list[str]:
    """Where a page shows what it does not show again, apart from what may vary."""
    pairs = zip(BLOCK.finditer(text), BLOCK.finditer(again), strict=True)
    return [
        f"{old['code']}shows\n{old['shown']}\nand now\n{new['shown']}"
        for old, new in pairs
        if old["how"] != ": varies" and not same(old["shown"] or "", new["shown"] or "")
    ]


def same(old: str, new: str) -> bool:
    """Whether outputs have the same words, and numbers at most a tenth, or 0.05, apart."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (old, new)]
    if words[0] != words[1]:
        return False
    one, other = (
        np.array([float(n.replace("−", "-")) for n in NUMBER.findall(t)]) for t in (old, new)
    )
    return bool(np.allclose(one, other, rtol=0.1, atol=0.05))


def execute(page: Path) -> tuple[str, dict, float]:
    """A page as it is when it is run now: its text, its figures, and the seconds that it took."""
    text, began = page.read_text(encoding="utf-8"), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        book = run(notebook(text), Path(folder))
    return *rendered(text, outputs(book), page.stem), time.perf_counter() - began


def write(page: Path, text: str, pictures: dict[str, bytes]) -> None:
    """Writes a page and its figures, and takes away those that it had."""
    page.write_text(text, encoding="utf-8")
    folder = page.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    for name, picture in pictures.items():
        folder.mkdir(exist_ok=True)
        with Image.open(io.BytesIO(picture)) as image:  # few colours do, in a third of the bytes
            image.convert("RGB").quantize(128).save(folder / name, optimize=True)


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    wanted = [Path(name).resolve() for name in arguments if name != "--check"] or pages()
    missing = [str(page) for page in wanted if not page.is_file()]
    if missing:
        print(f"there is no page {', '.join(missing)}", file=sys.stderr)
        return 2
    stale = 0
    for page in wanted:
        text, pictures, seconds = execute(page)
        found = differences(page.read_text(encoding="utf-8"), text)
        if not check:
            write(page, text, pictures)
        print(f"{page.relative_to(DOCS)}  {seconds:.0f} s  {len(pictures)} figures", flush=True)
        for difference in found if check else ():
            print(difference, file=sys.stderr)
        stale += bool(found)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
