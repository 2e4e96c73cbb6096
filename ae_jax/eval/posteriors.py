"""How much of its code a model uses, and whether the codes of a whole set lie where its prior is.

Of random codes: what deterministic ones are like is told by `CodeUse`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import NonNegative
from ae_jax.data.passes import EvaluationData
from ae_jax.distributions import kl_per_dim
from ae_jax.eval.estimates import check_density, codes_of, standard_error
from ae_jax.models import Batch, BoundModel
from ae_jax.numerics.noise import example_keys

BLOCK = 256  # codes that are scored under all posteriors at once


@dataclasses.dataclass(frozen=True)
class ActiveUnits(Checked):
    """Dimensions u of the code with Cov_x(E_q(u|x)[u]) above `threshold` (Burda et al. 2016).

    The variance over the evaluated examples of the posterior mean, which is 0 where the posterior
    has collapsed to a prior. Of a chain of codes the mean is that of `Chain.mean`.
    """

    threshold: NonNegative = 0.01

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """{active_units, variance_of_means}: a count, and the mean over dimensions."""
        variance = variance_of_means(module, variables, data, key)
        return {
            "active_units": float((variance > self.threshold).sum()),
            "variance_of_means": float(variance.mean()),
        }


def variance_of_means(module: Any, variables: Any, data: EvaluationData, key: Array) -> np.ndarray:
    """Of each dimension of the posterior mean over the examples, [Z]."""
    count = len(data.split)
    mean = data.sums(_means, module, variables, key)["mean"] / count
    # About the mean in a second pass: differences of large sums lose their digits.
    return data.sums(_squares, module, variables, key, jnp.asarray(mean))["square"] / count


def _means(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    return {"mean": model.encode(batch).mean()}


def _squares(model: BoundModel, batch: Batch, key: Array, mean: Array) -> dict[str, Array]:
    return {"square": jnp.square(model.encode(batch).mean() - mean[None])}


def kl_by_dimension(
    module: Any, variables: Any, data: EvaluationData, key: Array
) -> dict[str, float]:
    """KL(q(z_j|x) || p(z_j)) of each dimension j, mean over examples, nats: {kl_0, kl_1, ...}.

    In closed form. Raises UserError where the KL is no sum over dimensions.
    """
    sums = data.sums(_divergences, module, variables, key)["kl"]
    return {f"kl_{j}": float(total / len(data.split)) for j, total in enumerate(sums)}


def _divergences(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    check_density(model, batch)
    found = kl_per_dim(model.encode(batch), model.prior(batch))
    return {"kl": jnp.broadcast_to(found, (*batch["mask"].shape, found.shape[-1]))}


def aggregate_posterior(
    module: Any, variables: Any, data: EvaluationData, key: Array
) -> dict[str, float]:
    """KL(q(z) || p(z)) of the aggregate posterior q(z) = 1/N sum_n q(z|x_n), and its complement.

    By Monte Carlo over the whole set, no minibatch in it: one code z_n ~ q(z|x_n) an example, and
    log q(z_n) exactly, over all N posteriors, that of its own example among them. The mean of
    log q(z_n) - log p(z_n) is unbiased for the aggregate of the evaluated examples; it is no
    estimate of that of the population, from which it is further the smaller the set.

    Returns `aggregate_kl`, and `mutual_information`, mean log q(z_n|x_n) - log q(z_n): between the
    code and which of the N examples it is of, at most log N (Hoffman & Johnson 2016; together they
    are the mean KL). Nats, each with its standard error over the codes as `..._se`. Raises
    UserError for codes without a density, or a prior that depends on the example.
    """
    drawn = data.rows(_drawn, module, variables, key)
    codes, own, log_prior = drawn["z"], drawn["log_posterior"], drawn["log_prior"]
    filled = np.concatenate([codes, np.repeat(codes[:1], -len(codes) % BLOCK, axis=0)])
    scored = [
        _log_mean(data.rows(_scored, module, variables, key, jnp.asarray(block))["log_prob"])
        for block in filled.reshape(-1, BLOCK, codes.shape[-1])
    ]
    aggregate = np.concatenate(scored)[: len(codes)]  # log q(z_n), [N]
    results: dict[str, float] = {}
    for name, values in (
        ("aggregate_kl", aggregate - log_prior),
        ("mutual_information", own - aggregate),
    ):
        results |= {name: float(values.mean()), f"{name}_se": standard_error(values)}
    return results


def _log_mean(log_densities: np.ndarray) -> np.ndarray:
    """Over the examples [N, M], [M]."""
    return logsumexp(log_densities.astype(np.float64), axis=0) - np.log(len(log_densities))


def _drawn(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    check_density(model, batch)
    if _own_prior(model, batch):
        raise UserError(
            "the prior depends on the condition of each example: there is no one prior to hold the "
            "aggregate posterior against"
        )
    posterior, keys = model.encode(batch), example_keys(key, batch["id"])
    z, log_posterior = posterior.sample_and_log_prob(keys, 1)
    log_prior = jnp.broadcast_to(model.prior(batch).log_prob(z), log_posterior.shape)
    return {"z": z[0], "log_posterior": log_posterior[0], "log_prior": log_prior[0]}


def _scored(model: BoundModel, batch: Batch, key: Array, z: Array) -> dict[str, Array]:
    """log q(z_m|x_n) of codes [M, Z] under each posterior, [B, M]."""
    shape = (len(z), *batch["mask"].shape, z.shape[-1])
    return {"log_prob": model.encode(batch).log_prob(jnp.broadcast_to(z[:, None], shape)).T}


def _own_prior(model: BoundModel, batch: Batch) -> bool:
    """Whether every example has a prior of its own: one for more examples is then larger."""
    twice = jax.tree.map(lambda rows: jnp.concatenate([rows, rows]), batch)
    small, large = (
        jax.tree.map(lambda leaf: leaf.shape, codes_of(model, each)[1]) for each in (batch, twice)
    )
    return small != large
