"""What experiments share: claims with a computed verdict, where they were measured."""

import dataclasses
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from ae_jax.core.commit import commit
from ae_jax.core.files import write_json


@dataclasses.dataclass(frozen=True)
class Claim:
    """A measured value beside what a source says; `holds` is computed by the constructors below.

    direction        on which side of its target the value is to be: `at least`, `at most`,
                     `close to`, `equal to`, `in the order of`
    standard_error   of the value, in its unit, where one was measured
    """

    name: str
    value: Any
    target: Any
    tolerance: float
    unit: str
    source: str
    holds: bool
    direction: str
    standard_error: float | None = None


def _judged(
    direction: str, holds: Callable[[float, float, float], Any],
    name: str, value: float, target: float, tolerance: float, unit: str, source: str,
    standard_error: float | None = None,
) -> Claim:  # fmt: skip
    """A claim about a number, judged by `holds(value, target, tolerance)` and then rounded, as far
    as the rounded numbers give the same verdict."""
    verdict = bool(holds(value, target, tolerance))
    error = None if standard_error is None else _rounded(standard_error)
    forms = ((_rounded(value, more), _rounded(target, more)) for more in range(9))
    agreeing = (form for form in forms if bool(holds(*form, tolerance)) == verdict)
    shown = next(agreeing, (value, target))
    return Claim(name, *shown, tolerance, unit, source, verdict, direction, error)


def _rounded(value: float, more: int = 0) -> float:
    """To three decimals, three digits where there would be fewer, and so many `more`."""
    small = 1e-9 < abs(value) < 0.1  # below that it is the rounding of what was computed
    return round(value, more + (2 - math.floor(math.log10(abs(value))) if small else 3))


# By no more than the tolerance is a value below its target, above it, or away from it.
at_least = partial(_judged, "at least", lambda value, target, tol: value >= target - tol)
at_most = partial(_judged, "at most", lambda value, target, tol: value <= target + tol)
close_to = partial(_judged, "close to", lambda value, target, tol: abs(value - target) <= tol)


def equal_to(name: str, value: float, target: float, unit: str, source: str) -> Claim:
    """The claim that a value is its target exactly, as a count is."""
    return Claim(name, value, target, 0.0, unit, source, bool(value == target), "equal to")


def same_order(
    name: str, values: dict[Any, float], targets: dict[Any, float], unit: str, source: str
) -> Claim:
    """The claim that keys sorted by value come in the order of their targets."""
    ours, theirs = (sorted(table, key=table.__getitem__) for table in (values, targets))
    return Claim(name, ours, theirs, 0.0, unit, source, ours == theirs, "in the order of")


def environment() -> dict[str, str]:
    """Where and with what a result was made."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "device": f"{jax.device_count()} x {device.device_kind}",
        "processor": f"{platform.machine()}, {_cores()} cores",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def origin(results: Mapping[str, Any]) -> str:
    """When and at which commits what a `results.json` tells of was trained, and it was written."""
    facts, trained = results["environment"], results.get("trained")
    written = f"written {facts['date']} at commit {facts['commit']}"
    if not trained:
        return f"{written}; when it was trained was not kept" if results["runs"] else written
    first, last, commits = trained["first"], trained["last"], trained["commits"]
    when = first if first == last else f"{first} to {last}"
    where = f"commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}"
    return f"training begun {when} at {where}; {written}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_results(
    path: Path, claims: Sequence[Claim], runs: Sequence[dict], **more: Any
) -> dict[str, Any]:
    """Writes `results.json`: claims, environment, runs and whatever else is named; returns it."""
    results = {
        "claims": [dataclasses.asdict(claim) for claim in claims],
        "environment": environment(),
        "runs": list(runs),
        **more,
    }
    write_json(path, results)
    return results
