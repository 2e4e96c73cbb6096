"""The bound of what is hidden, given what is seen."""

import dataclasses
from typing import ClassVar, Self

from flax import struct
from jax import Array

from ae_jax.core.ranges import Share
from ae_jax.data.missing import PATTERNS, hidden_entries, observed_log_prob
from ae_jax.objectives.base import Batch, BoundModel, Draws
from ae_jax.objectives.elbo import Elbo
from ae_jax.objectives.masked import refuse_nothing_hidden


@struct.dataclass
class CompletionElbo(Elbo):
    """E_q(z|x)[log p(x_h|z)] - KL(q(z|x) || p(z|c)), nats per example (Sohn et al. 2015, Eq. 4).

    A lower bound on log p(x_h|c), x_h being the entries that a pattern hides and c the condition of
    the data, which holds what is seen of x and nothing of x_h. Where values of x_h are no outcomes
    of the likelihood (grey levels under a Bernoulli) it bounds the cross-entropy only.

    pattern, share   which entries are hidden, and what share of an example (`data.missing`)

    q(z|x) sees the whole example. Options and metrics as of `Elbo`.
    """

    share: Share = 0.5
    pattern: str = struct.field(pytree_node=False, default="pixels")

    can_pad: ClassVar[bool] = True

    def bind(self, num_examples: int) -> Self:
        """With N set. Raises UserError for an unknown pattern, and for one that hides nothing."""
        PATTERNS.get(self.pattern)
        refuse_nothing_hidden(self.pattern, self.share)
        return super().bind(num_examples)

    def drawn(self, model: BoundModel, batch: Batch, key: Array) -> Draws:
        """L codes an example, and what the model says of them and of the hidden entries."""
        return of_hidden(super().drawn(model, batch, key), batch, self.pattern, self.share)


def of_hidden(draws: Draws, batch: Batch, pattern: str, share: Array | float) -> Draws:
    """The same draws with log p(x_h|z) of the hidden entries for their likelihood."""
    x = batch["x"]
    hidden = hidden_entries(x, batch["id"], pattern, share)
    return dataclasses.replace(draws, log_likelihood=observed_log_prob(draws.likelihood, x, hidden))
