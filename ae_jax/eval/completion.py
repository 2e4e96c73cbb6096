"""How well a model fills in what it was not shown."""

import dataclasses
from typing import Any, ClassVar

from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count, Share
from ae_jax.data.missing import fill_in, hidden_entries, observed_entries, observed_squared_error
from ae_jax.data.passes import EvaluationData
from ae_jax.models import Batch, BoundModel


@dataclasses.dataclass(frozen=True)
class Completion(Checked):
    """Squared error on entries that a pattern hides and the model fills in, an entry.

    pattern, share   as in `MaskedReconstruction`: which entries, and what share of an example
    rounds           how often the filled-in example is encoded again (`fill_in`)
    fill             what stands in the hidden places before the first

    Returns `completion_squared_error_per_pixel`, over all hidden entries of all examples.
    """

    pattern: str = "pixels"
    share: Share = 0.5
    rounds: Count = 1
    fill: float = 0.0

    accepts_missing: ClassVar[bool] = True

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        sums = data.sums(self.values_of, module, variables, key)
        if sums["count"] == 0:
            raise UserError(
                f"completion: the pattern {self.pattern} with a share of {self.share:g} hides no "
                "known value of any example"
            )
        return {"completion_squared_error_per_pixel": float(sums["error"] / sums["count"])}

    def values_of(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        """{error, count: [B]} over the hidden entries that are known."""
        x = batch["x"]
        observed = observed_entries(x, batch["id"], self.pattern, self.share)
        hidden = hidden_entries(x, batch["id"], self.pattern, self.share)
        filled = fill_in(model, batch, observed, self.rounds, self.fill)
        error, count = observed_squared_error(filled, x, hidden)
        return {"error": error, "count": count}
