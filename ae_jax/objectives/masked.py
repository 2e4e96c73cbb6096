"""Reconstruction of data of which only a part is observed."""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Share
from ae_jax.data.missing import (
    NUM_QUADRANTS,
    PATTERNS,
    hidden_entries,
    observed_entries,
    observed_log_prob,
    observed_squared_error,
)
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Objective, Terms, draw


@struct.dataclass
class MaskedReconstruction(Objective):
    """-log p(x_s|z) of the scored entries x_s at the code of the observed x_o, nats per example.

    pattern    a registered pattern of entries that are hidden, the same at every visit; entries
               that are NaN are unobserved under every pattern (`none` leaves it at these)
    share      what share of an example the pattern hides
    withheld   share of an example that the encoder does not see either, anew at each visit: it
               learns to fill in what it was not given
    withheld_pattern   a registered pattern of what is withheld
    scored     `observed`: x_s is x_o, and what is unobserved influences nothing; `hidden`: what
               the pattern hides, of complete examples, which a network learns to predict from x_o
    fill       what the encoder sees where it may not see

    Metrics: `reconstruction`, log p(x_s|z); `squared_error`, summed over the scored entries of an
    example; `squared_error_per_pixel`, per scored entry, in the mean over all scored entries.
    """

    share: Share = 0.5
    withheld: Share = 0.0
    pattern: str = struct.field(pytree_node=False, default="pixels")
    withheld_pattern: str = struct.field(pytree_node=False, default="pixels")
    scored: Literal["observed", "hidden"] = struct.field(pytree_node=False, default="observed")
    fill: float = 0.0

    headline: ClassVar[str] = "reconstruction"
    maximise: ClassVar[bool] = True
    can_pad: ClassVar[bool] = True
    accepts_missing: ClassVar[bool] = True

    def bind(self, num_examples: int) -> "MaskedReconstruction":
        """Raises UserError for an unknown pattern, and for one that leaves nothing to learn."""
        PATTERNS.get(self.pattern)
        PATTERNS.get(self.withheld_pattern)
        if self.scored == "hidden":
            refuse_nothing_hidden(self.pattern, self.share)
        return self

    def check_idle(self, posterior: Any, prior: Any) -> None:
        if self.pattern == "none" and self.share not in (0.0, type(self)().share):
            raise UserError(
                f"objective.share={self.share:g} is what a pattern hides, and objective.pattern is "
                "none"
            )
        if self.pattern != "none" and self.share > 0:
            refuse_nothing_hidden(self.pattern, self.share)
        if self.withheld > 0:
            refuse_nothing_hidden(self.withheld_pattern, self.withheld, "withheld")

    def check_missing(self) -> None:
        if self.fill != 0.0:
            raise UserError(
                f"objective.fill is {self.fill:g}, and some values are missing: for these "
                "the encoder sees 0 wherever the model is used, and so it has to in training"
            )

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        withheld_key, draw_key = jax.random.split(key)
        x, ids = batch["x"], batch["id"]
        observed = observed_entries(x, ids, self.pattern, self.share)
        scored = observed
        if self.scored == "hidden":
            scored = hidden_entries(x, ids, self.pattern, self.share)
        keys = example_keys(withheld_key, ids)
        withhold = PATTERNS.get(self.withheld_pattern)
        hidden = jax.vmap(lambda key: withhold(key, x.shape[1:], self.withheld))(keys)
        given = jnp.where(observed & ~hidden, x, self.fill)
        draws = draw(model, {**batch, "x": given}, draw_key, num_samples=1)
        reconstruction = observed_log_prob(draws.likelihood, x, scored)[0]
        error, count = observed_squared_error(draws.likelihood.mean()[0], x, scored)
        metrics = {
            "reconstruction": reconstruction,
            "squared_error": error,
            "squared_error_per_pixel": error / jnp.maximum(count, 1.0),
        }
        return Terms(-reconstruction, metrics, weights={"squared_error_per_pixel": count})


def refuse_nothing_hidden(
    pattern: str, share: float, option: str = "share", of: str = "objective."
) -> None:
    """Raises UserError where something has to be hidden, and the pattern hides nothing of any."""
    name = "pattern" if option == "share" else f"{option}_pattern"
    if pattern == "none":
        raise UserError(f"{of}{name}=none hides nothing, and there has to be something hidden")
    by_quarters = pattern in ("quadrants", "fixed_quadrants")
    if share == 0 or by_quarters and round(NUM_QUADRANTS * share) == 0:
        raise UserError(
            f"{of}{option}={share:g} of the pattern {pattern} hides nothing, and there has to be "
            "something hidden"
        )
