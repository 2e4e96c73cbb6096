"""Lower bounds on log p(x) and estimates of it."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.data.passes import EvaluationData
from ae_jax.objectives import Batch, Elbo, draw


def lower_bound(model: Any, params: Any, data: EvaluationData, key: Array) -> dict[str, float]:
    """The ELBO and its two terms, nats per example; one sample, analytic KL."""
    return data.mean(_elbo_terms, model, params, key)


def _elbo_terms(model: Any, params: Any, batch: Batch, key: Array) -> dict[str, Array]:
    return Elbo()(model, params, batch, key, jnp.zeros((), jnp.int32)).metrics


@dataclasses.dataclass(frozen=True)
class ImportanceSampledLikelihood:
    """log p(x) by importance sampling from q(z|x): log mean_k p(x, z_k) / q(z_k|x), in nats.

    A lower bound in expectation, which tightens with `num_samples` (Burda et al. 2016, Eq. 8).
    Samples are drawn in parts of at most `part` an example, and so many fewer examples at a time:
    no more than the `batch_size` of the data are decoded at once. Exactly `num_samples` count.
    """

    num_samples: int = 100
    part: int = 10

    def __call__(
        self, model: Any, params: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """{log_likelihood}, nats per example. Raises UserError for a code without a density."""
        probe = jax.eval_shape(
            lambda x: model.apply({"params": params}, x, method="encode"),
            jax.ShapeDtypeStruct((1, *data.split.x.shape[1:]), jnp.float32),
        )
        if probe.is_deterministic:
            raise UserError(
                "log p(x) needs a model with a random code; this one's is deterministic"
            )
        smaller = data.replace(batch_size=max(1, data.batch_size // self.part))
        return smaller.mean(self.values_of, model, params, key)

    def values_of(self, model: Any, params: Any, batch: Batch, key: Array) -> dict[str, Array]:
        """{log_likelihood: [B]} of a batch."""
        size = min(self.part, self.num_samples)
        parts = math.ceil(self.num_samples / size)

        def add(total: Array, part: Array) -> tuple[Array, None]:
            draws = draw(model, params, batch, key, size, first=part * size)
            counts = part * size + jnp.arange(size) < self.num_samples
            weights = jnp.where(counts[:, None], draws.log_weights(), -jnp.inf)
            return jnp.logaddexp(total, logsumexp(weights, axis=0)), None

        start = jnp.full(batch["mask"].shape, -jnp.inf)
        total, _ = jax.lax.scan(add, start, jnp.arange(parts))
        return {"log_likelihood": total - math.log(self.num_samples)}
