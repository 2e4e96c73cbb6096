"""In which options the configurations of runs differ."""

from collections.abc import Mapping, Sequence
from typing import Any


def varied(runs: Sequence[Mapping[str, Any]], *, in_all: bool) -> list[str]:
    """Options of flat configurations in which they differ, in the order they occur.

    Only those that are options `in_all` of them, or also those that some lack.
    """
    names = dict.fromkeys(name for run in runs for name in run)
    missing = object()
    return [
        name
        for name in names
        if any(run.get(name, missing) != runs[0].get(name, missing) for run in runs)
        and not (in_all and any(name not in run for run in runs))
    ]


def shown(value: Any) -> Any:
    """An option as a cell: `500-200` for sizes, of a file its name alone."""
    if isinstance(value, list):
        return "-".join(map(str, value)) or "none"
    return value.rpartition("/")[2] if isinstance(value, str) else value
