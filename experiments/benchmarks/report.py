"""What a suite measured, and how it is written down."""

import dataclasses
from pathlib import Path
from typing import Any

from ae_jax.report.claims import at_least, write_results

SOURCE = "this machine, in the same run"


@dataclasses.dataclass(frozen=True)
class Results:
    """What a suite found.

    tables   rows by title
    claims   (what, measured ratio, least ratio)
    facts    single numbers by name
    note     what was measured and how, with the conditions
    """

    tables: dict[str, list[dict[str, Any]]]
    claims: list[tuple[str, float, float]]
    facts: dict[str, Any]
    note: str


def write(path: Path, suite: str, results: Results) -> dict[str, Any]:
    """Writes results.json; every claim is that a ratio is at least its target."""
    claims = [
        at_least(name, value, target, 0.0, "ratio", SOURCE)
        for name, value, target in results.claims
    ]
    return write_results(
        path,
        claims,
        [],
        protocol=f"Benchmark: {suite}",
        note=results.note,
        tables=results.tables,
        facts=results.facts,
    )


def share(value: float) -> str:
    """A share as whole per cents."""
    return f"{100 * value:.0f} %"
