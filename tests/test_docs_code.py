"""The code of the docs runs as it stands, and their commands are ones that there are."""

import re
import shlex
from pathlib import Path

import click
import pytest

from ae_jax.cli import describe
from ae_jax.cli.app import cli
from ae_jax.data import DATA_SETS
from docs import executed
from experiments import docs

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")
COMMAND = re.compile(r"(?:^|[\s'])ae-jax (.*)")
SHELL = ("", "console", "bash")
# Sets that have to be fetched: what is told of them holds of one that need not be.
FETCHED = ("mnist", "fashion_mnist")


def blocks(page: Path, *languages: str) -> list[str]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def write_files(page: Path) -> None:
    """A block that begins with `# name.py` is that file, in the current folder."""
    for block in blocks(page, "python"):
        if named := FILE.match(block):
            Path(named[1]).write_text(block)


def commands(page: Path) -> list[list[str]]:
    """The arguments of each `ae-jax` in the shell blocks of a page."""
    found = []
    for block in blocks(page, *SHELL):
        for line in block.replace("\\\n", " ").splitlines():
            if match := COMMAND.search(line):
                words = shlex.split(match[1].removesuffix("'"), comments=True)
                found.append([word for word in words if word != "..."])
    return found


PAGES = sorted(docs.DOCS.rglob("*.md"))
WITH_CODE = [page for page in PAGES if blocks(page, "python") and page not in executed.notebooks()]
WITH_COMMANDS = [page for page in [docs.README, *PAGES] if commands(page)]


def test_every_fence_is_of_a_known_kind():
    for page in [docs.README, *PAGES]:
        kinds = {language for language, _ in FENCE.findall(page.read_text(encoding="utf-8"))}
        assert kinds <= {"python", "yaml", "text", *SHELL}, page.name


@pytest.mark.slow_cases(
    "anomalies",
    "start",
    "disentangle",
    "resume",
    "scikit_learn",
    "choosing_a_likelihood",
    "collapse",
    "devices",
    "grids",
    "own_model",
    "from_paper_to_experiment",
    "own_objective",
    "plots",
    "python",
    "reading_a_bound",
    "training",
    "which_model",
)
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_and_prints_what_is_shown(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_files(page)
    names = {"__name__": f"docs_{page.stem}"}
    for block in executed.BLOCK.finditer(page.read_text(encoding="utf-8")):
        exec(compile(block["code"], str(page), "exec"), names)
        printed = capsys.readouterr().out
        shown = "".join(
            text for kind, text in FENCE.findall(block["shown"] or "") if kind == "text"
        )
        if block["how"] != ": varies" and page.parent.name == "guides":
            assert executed.same(shown, printed), f"{block['code']} printed\n{printed}"


def parsed(group: click.Group, words: list[str], parent: click.Context | None = None) -> tuple:
    """The command that words lead to, and its parameters. Raises click's errors."""
    name, command, rest = group.resolve_command(click.Context(group, parent=parent), words)
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        return parsed(command, rest, context)
    return name, command.make_context(name, list(rest), parent=parent).params


@pytest.mark.slow_cases("clusters", "command_line", "data", "start", "choosing_a_likelihood")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_ones_that_there_are(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_files(page)
    for words in commands(page):
        if words[0].startswith("-"):
            continue  # --help of the whole
        name, given = parsed(cli, words)
        if name == "list" and given["name"] is not None:
            describe.describe_name(given["name"])
        elif name in ("prepare", "info"):
            assert given["name"] in DATA_SETS
        elif name == "train" and _is_at_hand(given):
            words = ["digits" if word in FETCHED else word for word in words]
            cli.main([*words, "--dry-run"], standalone_mode=False)


@pytest.mark.slow
def test_the_first_day_goes_as_it_is_told(tmp_path, monkeypatch, capsys):
    page = docs.DOCS / "guides/first_day.md"
    monkeypatch.chdir(tmp_path)
    write_files(page)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {"__name__": "first_day"})
    for words in commands(page):
        cli.main(words, standalone_mode=False)
    said = capsys.readouterr().out
    assert "it fits in" in said
    assert said.count("nats per example") >= 3 * 2, "of three splits of two runs"
    made = ("cells/explorer.html", "cells/export/encode.stablehlo", "sizes/report.html")
    assert all(Path("checkpoints", one).is_file() for one in (*made, "both.html"))
    header, *rows = Path("scores.csv").read_text().splitlines()
    assert header == "example,score,name,label" and len(rows) == 40
    listed = [line for line in said.splitlines() if line.startswith("| robust ")]
    assert len(listed) == 1 and "Robust" in listed[0]


def _is_at_hand(given: dict) -> bool:
    return given["data"] in ("digits", *FETCHED) and not given["distributed"]
