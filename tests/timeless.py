"""Records without what the clock says, which is all that like runs may differ in."""

from collections.abc import Mapping, Sequence
from typing import Any

CLOCK = frozenset({"seconds", "examples_per_second", "matrix_rate_share"})


def timeless(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in CLOCK} for record in records
    ]
