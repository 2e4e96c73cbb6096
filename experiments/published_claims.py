"""Claims about what papers report, of all committed results, as tables for the docs."""

import re
from collections.abc import Mapping
from typing import Any

from ae_jax.report.claims import origin
from ae_jax.report.pages import markdown_table

Results = Mapping[str, Any]

YEAR = re.compile(r"\b(19|20)\d\d\b")
OTHERS = ("pythae", "Pyro")
THEORY = ("Eq.", "theorem")  # equations and theorems are no figures that somebody measured
ERROR = re.compile(r"\(± ([0-9.]+)\)")


def is_published(source: str) -> bool:
    """Whether a claim is about what a paper, or a table of other software, reports."""
    cited = bool(YEAR.search(source)) or any(name in source for name in OTHERS)
    return cited and not any(word in source for word in THEORY)


def markdown(collected: Mapping[str, Results], page_of: Mapping[str, str]) -> str:
    """A heading for each of the results that have such claims, with protocol, minutes, device and
    commit, and a table of the claims."""
    parts = []
    for name, results in collected.items():
        rows = [_row(claim) for claim in results["claims"] if is_published(claim["source"])]
        if rows:
            parts += [
                f"### [{name}]({page_of[name]})", "", where(results), "", markdown_table(rows), ""
            ]  # fmt: skip
    return "\n".join(parts)


def where(results: Results) -> str:
    """Protocol, minutes, device, and where the numbers come from."""
    facts = results["environment"]
    seconds = [run.get("training seconds", run.get("seconds")) for run in results["runs"]]
    known = [value for value in seconds if value is not None]
    minutes = f"{sum(known) / 60:.3g} minutes of training" if known else "Minutes not kept"
    count = f"{len(known)} run" + ("" if len(known) == 1 else "s")
    return (
        f"{results['protocol']}. {minutes} in {count}, on {facts['device']} "
        f"({facts['processor']}); {origin(results)}."
    )


def _row(claim: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "claim": claim["name"],
        "ours": as_text(claim["value"]),
        "is to be": claim.get("direction", ""),
        "asked for": as_text(claim["target"]),
        "tolerance": as_text(claim["tolerance"]),
        "standard error": text_of_error(claim),
        "unit": claim["unit"],
        "holds": "yes" if claim["holds"] else "**no**",
        "source": claim["source"],
    }


def text_of_error(claim: Mapping[str, Any]) -> str:
    """Of the value; results that are older than the entry have it in the name, or in a table."""
    kept, named = claim.get("standard_error"), ERROR.search(claim["name"])
    if kept is not None:
        return f"{kept:.3g}"
    if named:
        return f"{float(named[1]):.3g}"
    return "" if "standard_error" in claim else "on the page"


def as_text(value: Any) -> str:
    """A number, or an order of things, for a cell."""
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)
