"""Reconstruction of data of which only a part is observed."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from pydantic import Field

from ae_jax.data.missing import (
    PATTERNS,
    observed_entries,
    observed_log_prob,
    observed_squared_error,
)
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Objective, Terms, draw

Share = Annotated[float, Field(ge=0, lt=1)]


@struct.dataclass
class MaskedReconstruction(Objective):
    """-log p(x_o|z) of the observed entries x_o at the code of x_o, nats per example.

    pattern    a registered pattern of entries that are hidden, the same at every visit; entries
               that are NaN are unobserved under every pattern (`none` leaves it at these)
    share      what share of an example the pattern hides
    withheld   share of an example that the encoder does not see either, anew at each visit: it
               learns to fill in what it was not given
    withheld_pattern   a registered pattern of what is withheld

    The encoder sees 0 for what it may not see. What is unobserved influences nothing. Metrics:
    `reconstruction`, log p(x_o|z); `squared_error`, summed over the observed entries of an example;
    `squared_error_per_pixel`, per observed entry.
    """

    share: Share = 0.5
    withheld: Share = 0.0
    pattern: str = struct.field(pytree_node=False, default="pixels")
    withheld_pattern: str = struct.field(pytree_node=False, default="pixels")

    headline: ClassVar[str] = "reconstruction"
    maximise: ClassVar[bool] = True
    can_pad: ClassVar[bool] = True
    accepts_missing: ClassVar[bool] = True

    def bind(self, num_examples: int) -> "MaskedReconstruction":
        """Raises UserError for an unknown pattern."""
        PATTERNS.get(self.pattern)
        PATTERNS.get(self.withheld_pattern)
        return self

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        withheld_key, draw_key = jax.random.split(key)
        x = batch["x"]
        observed = observed_entries(x, batch["id"], self.pattern, self.share)
        keys = example_keys(withheld_key, batch["id"])
        withhold = PATTERNS.get(self.withheld_pattern)
        hidden = jax.vmap(lambda key: withhold(key, x.shape[1:], self.withheld))(keys)
        given = jnp.where(observed & ~hidden, x, 0.0)
        draws = draw(model, {**batch, "x": given}, draw_key, num_samples=1)
        reconstruction = observed_log_prob(draws.likelihood, x, observed)[0]
        error, count = observed_squared_error(draws.likelihood.mean()[0], x, observed)
        metrics = {
            "reconstruction": reconstruction,
            "squared_error": error,
            "squared_error_per_pixel": error / jnp.maximum(count, 1.0),
        }
        return Terms(-reconstruction, metrics)
