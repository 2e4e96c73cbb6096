"""Records without what the clock says, which is all that like runs may differ in."""

from collections.abc import Mapping, Sequence
from typing import Any

# And the check of a line, which is over all of it.
CLOCK = frozenset({"seconds", "examples_per_second", "matrix_rate_share", "check"})


def timeless(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name not in CLOCK} for record in records
    ]
