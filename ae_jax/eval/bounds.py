"""Lower bounds on log p(x) and estimates of it."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.data.passes import EvaluationData
from ae_jax.distributions import has_kl
from ae_jax.models import Batch, BoundModel, draw
from ae_jax.models.base import Draws, score
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import Elbo
from ae_jax.objectives.completion import of_hidden


def lower_bound(module: Any, variables: Any, data: EvaluationData, key: Array) -> dict[str, float]:
    """The ELBO and its two terms, nats per example; one sample.

    The KL is analytic where the pair of posterior and prior has a closed form, else the mean of
    log q - log p at the sample.
    """
    return data.mean(_elbo_terms, module, variables, key)


def _elbo_terms(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    form = "analytic" if has_kl(*codes_of(model, batch)) else "monte_carlo"
    return Elbo(kl_form=form)(model, batch, key, jnp.zeros((), jnp.int32)).metrics


def codes_of(model: BoundModel, batch: Batch) -> tuple[Any, Any]:
    """Posterior and prior of a batch, with shapes in place of arrays."""
    return jax.eval_shape(lambda batch: (model.encode(batch), model.prior(batch)), batch)


@dataclasses.dataclass(frozen=True)
class ImportanceSampledLikelihood:
    """log p(x) by importance sampling from q(z|x): log mean_k p(x, z_k) / q(z_k|x), in nats.

    proposal         what codes are drawn from: the `posterior`, or the `prior`, which has not seen
                     x: log mean_k p(x|z_k)
    pattern, share   with a pattern of missing entries, log p(x_h|c) of what it hides, as in
                     `CompletionElbo`

    A lower bound in expectation, which tightens with `num_samples` (Burda et al. 2016, Eq. 8).
    Samples are drawn in parts of at most `part` an example, and so many fewer examples at a time:
    no more than the `batch_size` of the data are decoded at once. Exactly `num_samples` count.
    """

    num_samples: int = 100
    part: int = 10
    proposal: Literal["posterior", "prior"] = "posterior"
    pattern: str = "none"
    share: float = 0.0

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """{log_likelihood}, nats per example. Raises UserError for a code without a density."""
        smaller = data.replace(batch_size=max(1, data.batch_size // self.part))
        return smaller.mean(self.values_of, module, variables, key)

    def values_of(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        """{log_likelihood: [B]} of a batch. Raises UserError for a code without a density."""
        if any(each.is_deterministic for each in codes_of(model, batch)):
            raise UserError("log p(x) needs a model with a random code and a prior over it")
        size = min(self.part, self.num_samples)
        parts = math.ceil(self.num_samples / size)

        def add(total: Array, part: Array) -> tuple[Array, None]:
            draws = self._draws(model, batch, key, size, part * size)
            counts = part * size + jnp.arange(size) < self.num_samples
            weights = jnp.where(counts[:, None], draws.log_weights(), -jnp.inf)
            return jnp.logaddexp(total, logsumexp(weights, axis=0)), None

        start = jnp.full(batch["mask"].shape, -jnp.inf)
        total, _ = jax.lax.scan(add, start, jnp.arange(parts))
        return {"log_likelihood": total - math.log(self.num_samples)}

    def _draws(self, model: BoundModel, batch: Batch, key: Array, size: int, first: Array) -> Draws:
        """Samples first, first + 1, ... of the proposal, scored."""
        if self.proposal == "posterior":
            draws = draw(model, batch, key, size, first)
        else:
            prior = model.prior(batch)
            keys = example_keys(key, batch["id"])
            draws = score(model, batch, prior, *prior.sample_and_log_prob(keys, size, first))
        if self.pattern == "none":
            return draws
        return of_hidden(draws, batch, self.pattern, self.share)
