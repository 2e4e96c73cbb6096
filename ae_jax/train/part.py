"""An epoch that is not over: what it has summed up so far, for the one who goes on with it.

Sums are taken in float64 and chunk after chunk, so that an epoch in two parts ends with the bits of
one in a single part.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ae_jax.data.batches import Totals
from ae_jax.train.step import NO_STEP, StepReport


@dataclasses.dataclass(frozen=True)
class Part:
    """Sums of the metrics over the examples so far, their number, and the first bad step."""

    sums: Mapping[str, float] = dataclasses.field(default_factory=dict)
    count: float = 0.0
    bad_step: int = NO_STEP

    def with_steps(self, reports: StepReport) -> "Part":
        """With one more step, or with many stacked along a leading axis."""
        totals = reports.totals
        return Part(
            {name: self.sums.get(name, 0.0) + _sum(value) for name, value in totals.sums.items()},
            self.count + _sum(totals.count),
            min(self.bad_step, int(np.min(reports.bad_step))),
        )

    def report(self) -> StepReport:
        """The report of these steps, in the types of one from a device."""
        sums = {name: jnp.float32(value) for name, value in self.sums.items()}
        return StepReport(Totals(sums, jnp.float32(self.count)), jnp.int32(self.bad_step))

    def as_table(self, seconds: float) -> dict[str, Any]:
        """Plain data, with the seconds that the steps took."""
        return {**dataclasses.asdict(self), "seconds": seconds}


def part_in(table: Mapping[str, Any] | None) -> tuple[Part, float]:
    """The part of `as_table` and its seconds; the beginning of an epoch where there is none."""
    if table is None:
        return Part(), 0.0
    given = dict(table)
    seconds = given.pop("seconds")
    return Part(**given), seconds


def _sum(values: Any) -> float:
    return float(np.sum(values, dtype=np.float64))
