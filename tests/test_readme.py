"""README.md shows what the committed results say, and nothing that was typed in by hand."""

import re

from experiments import readme


def test_tables_come_from_the_committed_results():
    text = readme.README.read_text(encoding="utf-8")
    assert readme.rendered(text) == text


def test_every_part_and_picture_exists():
    text = readme.README.read_text(encoding="utf-8")
    names = [match[2] for match in readme.PART.finditer(text)]
    assert names
    for name in names:
        assert (readme.RESULTS / name / "results.json").is_file()
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (readme.ROOT / picture).is_file(), picture
