"""Notebooks of the docs run from the first cell to the last, and show what their pages show."""

import time

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from docs import executed

PAGES = executed.notebooks()

PAGE = """# Squares

```python
# squares.py
def square(x):
    return x * x
```

They are whole.

```python
from squares import square

print("two", square(2), 1.5)
```

<!-- output -->

```text
two 4 1.5
```

<!-- end -->

```python
square(3)
```

```python
import time

print(time.time())
```

<!-- output: varies -->
<!-- end -->
"""


@pytest.mark.timeout(1800)  # two minutes on two cores, where nothing else runs
@pytest.mark.slow_cases("anomalies", "grid", "lecture_*", "own_*", "topics")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_runs_and_shows_what_the_page_shows(page):
    before = page.read_text(encoding="utf-8")
    again, pictures, _ = executed.execute(page)
    assert executed.differences(before, again) == []
    folder = page.with_suffix("")
    assert sorted(pictures) == sorted(file.name for file in folder.glob("*")), page.stem


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_is_a_valid_one_with_words_between_its_cells(page):
    book = executed.notebook(page.read_text(encoding="utf-8"))
    nbformat.validate(book)
    assert book.cells[0].source.startswith("# ")
    assert not any("<!--" in cell.source for cell in book.cells)
    assert sum(cell.cell_type == "code" for cell in book.cells) >= 4


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> str:
    page = tmp_path_factory.mktemp("pages") / "squares.md"
    page.write_text(PAGE, encoding="utf-8")
    text, pictures, seconds = executed.execute(page)
    assert pictures == {} and seconds < 60
    return text


def test_what_a_page_prints_is_written_below_its_code(shown):
    assert shown.count("<!-- output") == 3
    assert "square(3)\n```\n\n<!-- output -->\n\n```text\n9\n```\n\n<!-- end -->\n" in shown
    said = float(shown.partition("<!-- output: varies -->\n\n```text\n")[2].partition("\n")[0])
    assert abs(said - time.time()) < 600
    assert "Writing squares.py" not in shown


def test_only_what_may_not_vary_is_compared(shown):
    (missing,) = executed.differences(PAGE, shown)
    assert missing.startswith("square(3)")
    assert executed.differences(shown, shown) == []
    assert executed.differences(shown.replace("two 4", "two 5"), shown) != []
    assert executed.differences(shown.replace("two 4", "too 4"), shown) != []


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("elbo -25.58 nats", "elbo -25.21 nats", True),
        ("elbo -25.58 nats", "elbo 25.58 nats", False),
        ("elbo -25.58 nats", "kl -25.58 nats", False),
        ("63% of them", "61% of them", True),
        ("63% of them", "31% of them", False),
        ("a  b\n", "a b", True),
        ("1 2", "1", False),
    ],
)
def test_numbers_may_differ_by_what_machines_do(one, other, is_same):
    assert executed.same(one, other) is is_same


def test_a_cell_that_raises_ends_the_run(tmp_path):
    page = tmp_path / "wrong.md"
    page.write_text("# Wrong\n\n```python\n1 / 0\n```\n", encoding="utf-8")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        executed.execute(page)


def test_a_figure_without_words_is_refused():
    with pytest.raises(ValueError, match="has no words"):
        executed.rendered("```python\nfigure\n```\n", [("", [b"png"])], "page")
    text, pictures = executed.rendered("```python\nf  # a line\n```\n", [("", [b"png"])], "page")
    assert "![a line](page/1.png)" in text and pictures == {"1.png": b"png"}
