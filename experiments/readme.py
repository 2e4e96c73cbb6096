"""The parts of README.md that come from results and from code, written by a command.

Command python -m experiments.readme [--collect RUN_DIR NAME]

`--collect` first copies `results.json` and the figures of a finished experiment to
`experiments/results/NAME`, which is what README.md shows. Each part of README.md between
`<!-- results: NAME -->` and `<!-- end -->` is then written anew from there, each one that begins
with `<!-- table: NAME -->` by a function (`TABLES`), and the one that begins with
`<!-- gallery -->` shows all figures that the rest does not.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import click
from PIL import Image

from ae_jax.cli.shell import run_command
from ae_jax.codecs import form
from ae_jax.core.errors import UserError
from ae_jax.core.files import make_directory, read_json, write_text
from ae_jax.report.pages import markdown_table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
README = ROOT / "README.md"
PART = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
GALLERY = re.compile(r"(<!-- gallery -->\n).*?(<!-- end -->)", re.DOTALL)
LARGEST = 200_000  # bytes of a figure that is kept as it is


def collect(run: Path, name: str) -> None:
    """Copies what README.md shows of an experiment's directory. Raises UserError."""
    read_json(run / "results.json")
    target = make_directory(RESULTS / name)
    shutil.copyfile(run / "results.json", target / "results.json")
    for figure in sorted((run / "figures").glob("*.png")):
        copy_figure(figure, target / figure.name)


def copy_figure(figure: Path, target: Path) -> None:
    """Copies a PNG; a large one keeps 128 colours, which greys and curves do not miss, or fewer."""
    if figure.stat().st_size <= LARGEST:
        shutil.copyfile(figure, target)
        return
    with Image.open(figure) as image:
        for colours in (128, 64, 32, 16):
            image.convert("RGB").quantize(colours).save(target, optimize=True)
            if target.stat().st_size <= LARGEST:
                return


def rendered(text: str) -> str:
    """The README with every part written from the results that it names."""
    text = TABLE.sub(lambda part: f"{part[1]}\n{TABLES[part[2]]()}\n{part[3]}", text)
    text = PART.sub(lambda part: f"{part[1]}\n{_part(part[2])}\n{part[3]}", text)
    elsewhere = GALLERY.sub("", text)
    return GALLERY.sub(lambda part: f"{part[1]}\n{_gallery(elsewhere)}\n{part[2]}", text)


def _collected() -> dict[str, dict[str, Any]]:
    """The committed results by name."""
    files = sorted(RESULTS.rglob("results.json"))
    return {file.parent.relative_to(RESULTS).as_posix(): read_json(file) for file in files}


def _claims_that_hold() -> str:
    """One row for each of the committed results: how many of its claims hold."""
    rows = []
    for name, results in _collected().items():
        held = [claim["holds"] for claim in results["claims"]]
        facts = results["environment"]
        rows.append(
            {
                "results": name,
                "claims": len(held),
                "that hold": sum(held),
                "on": facts["device"],
                "written": facts["date"],
            }
        )
    return markdown_table(rows) + "\n"


TABLES = {"codecs": form.markdown, "claims": _claims_that_hold}


def _gallery(elsewhere: str) -> str:
    """The figures that are not shown elsewhere, folded up by experiment."""
    lines = []
    for name, results in _collected().items():
        titles = results.get("figures", {})
        shown = []
        for picture in sorted((RESULTS / name).glob("*.png")):
            place = picture.relative_to(ROOT).as_posix()
            if f"({place})" not in elsewhere:
                title = titles.get(picture.stem, picture.stem.replace("_", " "))
                shown += [f"{title}:", "", f"![{title}]({place})", ""]
        if shown:
            lines += [f"<details><summary>{name}</summary>", "", *shown, "</details>", ""]
    return "\n".join(lines)


def _part(name: str) -> str:
    results = read_json(RESULTS / name / "results.json")
    lines = [f"{results['protocol']}. {results['note']}"]
    lines += _benchmark(results) if "facts" in results else _experiment(results)
    facts = results["environment"]
    where = f"{facts['processor']}, {facts['device']}, jax {facts['jax']}"
    lines += ["", f"Results of {where}, written {facts['date']} at commit {facts['commit']}."]
    return "\n".join(lines) + "\n"


def _experiment(results: dict[str, Any]) -> list[str]:
    lines = []
    for heading, rows in results["tables"].items():
        lines += ["", f"{heading}:", "", markdown_table(rows)]
    return [*lines, "", *_claims(results["claims"])]


def _benchmark(results: dict[str, Any]) -> list[str]:
    lines = []
    for title, rows in results["tables"].items():
        lines += ["", f"{title}:", "", markdown_table(rows)]
    if results["facts"]:
        lines += ["", "; ".join(f"{name}: {value}" for name, value in results["facts"].items())]
    claims = [
        {**claim, "name": f"{claim['name']} is {claim['value']:g} (at least {claim['target']:g})"}
        for claim in results["claims"]
    ]
    return [*lines, "", *_claims(claims)]


def _claims(claims: list[dict[str, Any]]) -> list[str]:
    return [
        f"- {'holds' if claim['holds'] else '**does not hold**'}: {claim['name']}"
        for claim in claims
    ]


@click.command()
@click.option(
    "--collect",
    "collected",
    nargs=2,
    metavar="RUN_DIR NAME",
    help="Copy the results of RUN_DIR to experiments/results/NAME first.",
)
def main(collected: tuple[str, str] | None) -> None:
    """Write the tables of README.md anew from experiments/results."""
    if collected is not None:
        run, name = collected
        collect(Path(run), name)
    if not README.is_file():
        raise UserError(f"there is no {README}")
    write_text(README, rendered(README.read_text(encoding="utf-8")))
    click.echo(f"written: {README}")


if __name__ == "__main__":
    run_command(main)
