"""The parts of README.md and docs/ that come from results and from code, written by a command.

Command python -m experiments.docs [--collect RUN_DIR NAME]

`--collect` first copies `results.json` and the figures of a finished experiment to
`experiments/results/NAME`, which is what the pages show. In each page every part between
`<!-- results: NAME -->` and `<!-- end -->` is then written anew from there, each one that begins
with `<!-- table: NAME -->` by a function (`TABLES`), and each that begins with
`<!-- figures: NAME -->` shows the figures of the results NAME that the page does not show already.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from PIL import Image

from ae_jax.cli.shell import run_command
from ae_jax.codecs import form
from ae_jax.core.errors import UserError
from ae_jax.core.files import make_directory, read_json, write_text
from ae_jax.data import DATA_SETS
from ae_jax.report.claims import origin
from ae_jax.report.pages import markdown_table
from experiments import published_claims, published_figures, status, taxonomy
from experiments.published_claims import as_text

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PART = re.compile(r"(<!-- (results|table|figures): (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
LARGEST = 200_000  # bytes of a figure that is kept as it is


def collect(run: Path, name: str) -> None:
    """Copies what the pages show of an experiment's directory. Raises UserError."""
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


def pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def rendered(page: Path, text: str) -> str:
    """A page with every part written from the results, or by the function, that it names."""
    elsewhere = PART.sub("", text)

    def written(part: re.Match[str]) -> str:
        begin, kind, name, end = part.groups()
        if kind == "figures":
            return f"{begin}\n{_figures(page, name, elsewhere)}{end}"
        return f"{begin}\n{_part(name) if kind == 'results' else TABLES[name]()}\n{end}"

    return PART.sub(written, text)


def collected() -> dict[str, dict[str, Any]]:
    """The committed results by name."""
    files = sorted(RESULTS.rglob("results.json"))
    return {file.parent.relative_to(RESULTS).as_posix(): read_json(file) for file in files}


def _page_of(name: str) -> str:
    """The page of results, from that of all claims."""
    first = name.partition("/")[0]
    return "benchmarks.md" if first == "benchmark" else f"experiments/{first}.md"


def _subject_and_preset(name: str, results: Mapping[str, Any]) -> tuple[str, str]:
    """The data set, where it is not the usual one, and the preset that results are of.

    They end the title, which may say what it is about instead: then the name does.
    """
    ending = results.get("title", "").rpartition(": ")[2]
    subject, _, preset = ending.rpartition(", ")
    first, _, rest = name.partition("/")
    if first == "benchmark" or not preset or " " in preset:
        return "", "standard" if first == "benchmark" else rest or "standard"
    return subject if subject == rest else "", preset


def _preset(name: str, results: Mapping[str, Any]) -> str:
    return _subject_and_preset(name, results)[1]


def _command(name: str, results: Mapping[str, Any]) -> str:
    first, _, rest = name.partition("/")
    if first == "benchmark":
        return f"python -m experiments.benchmark --suite {rest}"
    subject, preset = _subject_and_preset(name, results)
    data = f" --dataset {subject}" if subject else ""
    return f"python -m experiments.{first} --preset {preset}{data}"


def _claims_that_hold() -> str:
    """One row for each of the committed results: how many of its claims hold."""
    rows = []
    for name, results in collected().items():
        held = [claim["holds"] for claim in results["claims"]]
        facts, trained = results["environment"], results.get("trained")
        known = None if trained is None else (trained["last"], ", ".join(trained["commits"]))
        rows.append(
            {
                "results": f"[{name}]({_page_of(name)})",
                "preset": _preset(name, results),
                "claims that hold": f"{sum(held)} of {len(held)}",
                "on": facts["device"],
                "trained": "" if known is None else known[0],
                "at commit": "" if known is None else known[1],
                "written": facts["date"],
                "by commit": facts["commit"],
            }
        )
    return markdown_table(rows) + "\n"


def _published() -> str:
    """Every published figure with ours beside it, or why there is none."""
    results = collected()
    pages = {name: _page_of(name) for name in results}
    return published_figures.markdown(results, pages, published_claims.where) + "\n"


def _published_claims() -> str:
    """The claims about what papers report, of each of the committed results that has some."""
    results = collected()
    return published_claims.markdown(results, {name: _page_of(name) for name in results}) + "\n"


def _grid_standard() -> str:
    """Test bounds at the largest budget that was run, beside the paper's; its page has the rest."""
    results = read_json(RESULTS / "kingma_welling" / "standard" / "results.json")
    bound = ("test bound", "standard error", "deviation over seeds", "paper test")
    kept = ("latent size", "method", "samples", *bound)
    rows = [
        {name: row[name] for name in kept if name in row}
        for row in results["tables"]["Lower bounds"]
    ]
    return markdown_table(rows) + "\n"


def _data_sets() -> str:
    """One row for each registered data set: where it comes from."""
    rows = []
    for name, data in DATA_SETS.items():
        elsewhere = [source for source in data.sources if source != "prepared files"]
        rows.append({"name": f"`{name}`", "sources, in order": "; ".join(elsewhere)})
    return markdown_table(rows) + "\n"


TABLES = {
    "data_sets": _data_sets,
    "taxonomy": taxonomy.markdown,
    "codecs": form.markdown,
    "claims": _claims_that_hold,
    "published_figures": _published,
    "published_claims": _published_claims,
    "status": status.markdown,
    "kingma_welling": _grid_standard,
}


def _figures(page: Path, name: str, elsewhere: str) -> str:
    """The figures of results, in all its presets, that the page does not show elsewhere."""
    lines = []
    for picture in sorted((RESULTS / name).rglob("*.png")):
        results = read_json(picture.parent / "results.json")
        place = os.path.relpath(picture, page.parent)
        if f"({place})" not in elsewhere:
            title = results.get("figures", {}).get(picture.stem, picture.stem.replace("_", " "))
            lines += [f"{title}:", "", f"![{title}]({place})", ""]
    return "\n".join(lines) + ("\n" if lines else "")


def _part(name: str) -> str:
    results = read_json(RESULTS / name / "results.json")
    lines = [f"{results['protocol']}. {results['note']}"]
    for heading, rows in results["tables"].items():
        lines += ["", f"{heading}:", "", markdown_table(rows)]
    if results.get("facts"):  # of a benchmark
        lines += ["", "; ".join(f"{name}: {value}" for name, value in results["facts"].items())]
    facts = results["environment"]
    where = f"{facts['processor']}, {facts['device']}, jax {facts['jax']}"
    command = f"Results of `{_command(name, results)}` on {where}; {origin(results)}."
    return "\n".join([*lines, "", *_claims(results["claims"]), "", command]) + "\n"


def _claims(claims: list[dict[str, Any]]) -> list[str]:
    """How many claims hold, and a table of all."""
    rows = [
        {
            "claim": claim["name"],
            "ours": as_text(claim["value"]),
            "is to be": claim.get("direction", ""),
            "target": as_text(claim["target"]),
            "tolerance": as_text(claim.get("tolerance", 0)),
            "unit": claim.get("unit", ""),
            "holds": "yes" if claim["holds"] else "**no**",
        }
        for claim in claims
    ]
    held = sum(claim["holds"] for claim in claims)
    return [f"{held} of {len(claims)} claims hold:", "", markdown_table(rows)]


@click.command()
@click.option(
    "--collect",
    "collected",
    nargs=2,
    metavar="RUN_DIR NAME",
    help="Copy the results of RUN_DIR to experiments/results/NAME first.",
)
def main(collected: tuple[str, str] | None) -> None:
    """Write the tables of README.md and docs/ anew from experiments/results."""
    if collected is not None:
        run, name = collected
        collect(Path(run), name)
    if not README.is_file():
        raise UserError(f"there is no {README}")
    for page in pages():
        text = page.read_text(encoding="utf-8")
        again = rendered(page, text)
        if again != text:
            write_text(page, again)
            click.echo(f"written: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    run_command(main)
