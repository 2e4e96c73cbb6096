"""One case a family of distributions: small parameters, and what scipy or its definition says."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from ae_jax.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    CouplingFlow,
    DiagonalGaussian,
    DiscretisedLogistic,
    Distribution,
    FullGaussian,
    Gaussian,
    GaussianMixture,
    LogisticNormal,
    Multinomial,
    NegativeBinomial,
    OneHot,
    PlanarFlow,
    Poisson,
)

BATCH = 4  # no other axis of a parameter is of this size


@dataclasses.dataclass(frozen=True)
class Case:
    """A distribution of BATCH examples; `log_prob` takes float64 values to nats, [..., B].

    `mean` and `variance` are those of a value, None where they are not known in closed form.
    """

    distribution: Distribution
    log_prob: Callable[[np.ndarray], np.ndarray] | None = None
    mean: np.ndarray | None = None
    variance: np.ndarray | None = None


def normals(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """float64 values that a float32 holds exactly, so that both sides see the same parameters."""
    values = np.random.default_rng(seed).normal(0, scale, shape)
    return values.astype(np.float32).astype(np.float64)


def on_device(*values: np.ndarray):
    return tuple(jnp.asarray(v, jnp.float32) for v in values)


def softmax(logits: np.ndarray) -> np.ndarray:
    return special.softmax(logits, axis=-1)


def summed(terms: np.ndarray, event_ndims: int) -> np.ndarray:
    return terms.sum(axis=tuple(range(-event_ndims, 0)))


def bernoulli() -> Case:
    logits = normals(0, BATCH, 5, scale=2)
    p = special.expit(logits)
    return Case(
        Bernoulli(*on_device(logits)),
        lambda x: summed(stats.bernoulli.logpmf(x, p), 1),
        p,
        p * (1 - p),
    )


def gaussian(shared: bool = False) -> Case:
    loc = normals(1, 3, BATCH, 2, 2, 1)
    log_scale = np.float64(0.5) if shared else normals(2, 3, BATCH, 2, 2, 1)
    scale = np.broadcast_to(np.exp(log_scale), loc.shape)
    return Case(
        Gaussian(*on_device(loc, log_scale), event_ndims=3),
        lambda x: summed(stats.norm.logpdf(x, loc, scale), 3),
        loc,
        scale**2,
    )


def full_gaussian() -> Case:
    loc, raw = normals(3, BATCH, 3), normals(4, BATCH, 3, 3)
    tril = np.tril(raw, -1) + np.exp(0.5 * raw) * np.eye(3)
    tril = tril.astype(np.float32).astype(np.float64)
    covariance = tril @ np.swapaxes(tril, 1, 2)
    return Case(
        FullGaussian(*on_device(loc, tril)),
        lambda z: np.stack(
            [
                stats.multivariate_normal(loc[i], covariance[i]).logpdf(z[..., i, :])
                for i in range(BATCH)
            ],
            axis=-1,
        ),
        loc,
        np.diagonal(covariance, axis1=1, axis2=2),
    )


def mixture(shared: bool = True) -> Case:
    own = () if shared else (BATCH,)
    raw, loc = normals(5, *own, 3), normals(6, *own, 3, 2, scale=2)
    log_scale = normals(7, *own, 3, 2, scale=0.5)
    weights = softmax(raw)[..., None]
    mean = np.sum(weights * loc, axis=-2)
    square = np.sum(weights * (loc**2 + np.exp(2 * log_scale)), axis=-2)

    def log_prob(z: np.ndarray) -> np.ndarray:
        of_each = stats.norm.logpdf(z[..., None, :], loc, np.exp(log_scale)).sum(axis=-1)
        return special.logsumexp(of_each, b=weights[..., 0], axis=-1)

    distribution = GaussianMixture(*on_device(raw, loc, log_scale))
    return Case(distribution, log_prob, mean, square - mean**2)


def categorical() -> Case:
    logits = normals(8, 3, BATCH, 2, 1, 2, 6, scale=2)
    p, levels = softmax(logits), np.arange(6.0)
    mean = p @ levels
    return Case(
        Categorical(*on_device(logits), event_ndims=3),
        lambda x: summed(np.log(np.sum(p * (x[..., None] == levels), axis=-1)), 3),
        mean,
        p @ levels**2 - mean**2,
    )


def logistic_levels(loc: np.ndarray, log_scale: np.ndarray, levels: int) -> np.ndarray:
    """Probabilities of all levels by the logistic distribution function, [..., levels]."""
    edges = np.concatenate([[-np.inf], np.arange(levels - 1) + 0.5, [np.inf]])
    below = special.expit((edges - loc[..., None]) * np.exp(-log_scale)[..., None])
    return np.diff(below, axis=-1)


def discretised_logistic() -> Case:
    loc, log_scale = 7 + normals(9, BATCH, 5, scale=4), normals(10, BATCH, 5, scale=0.5)
    p, values = logistic_levels(loc, log_scale, 16), np.arange(16.0)
    mean = p @ values
    return Case(
        DiscretisedLogistic(*on_device(loc, log_scale), levels=16),
        lambda x: summed(np.log(np.sum(p * (x[..., None] == values), axis=-1)), 1),
        mean,
        p @ values**2 - mean**2,
    )


def poisson() -> Case:
    log_rate = normals(11, BATCH, 5, scale=1.5) + 1
    rate = np.exp(log_rate)
    return Case(
        Poisson(*on_device(log_rate)),
        lambda x: summed(stats.poisson.logpmf(x, rate), 1),
        rate,
        rate,
    )


def negative_binomial() -> Case:
    log_mean, log_dispersion = normals(12, BATCH, 5) + 1, normals(13, BATCH, 5, scale=0.7) - 1
    mean, shape = np.exp(log_mean), np.exp(-log_dispersion)
    return Case(
        NegativeBinomial(*on_device(log_mean, log_dispersion)),
        lambda x: summed(stats.nbinom.logpmf(x, shape, shape / (shape + mean)), 1),
        mean,
        mean + mean**2 / shape,
    )


def multinomial() -> Case:
    logits, totals = normals(14, BATCH, 7), np.array([0.0, 1.0, 30.0, 140.0])
    p = softmax(logits)
    return Case(
        Multinomial(*on_device(logits, totals)),
        lambda x: stats.multinomial.logpmf(x, x.sum(axis=-1).astype(int), p),
        totals[:, None] * p,
        totals[:, None] * p * (1 - p),
    )


def one_hot() -> Case:
    logits = normals(15, BATCH, 5)
    p = softmax(logits)
    distribution = OneHot(*on_device(logits))
    return Case(distribution, lambda x: np.log(np.sum(x * p, axis=-1)), p, p * (1 - p))


def logistic_normal() -> Case:
    loc, log_scale = normals(16, BATCH, 2), normals(17, BATCH, 2, scale=0.5)

    def log_prob(x: np.ndarray) -> np.ndarray:
        z = np.log(x[..., :-1]) - np.log(x[..., -1:])
        density = stats.norm.logpdf(z, loc, np.exp(log_scale)).sum(axis=-1)
        return density - np.log(x).sum(axis=-1)

    return Case(LogisticNormal(*on_device(loc, log_scale)), log_prob)


def beta() -> Case:
    log_alpha, log_beta = normals(18, BATCH, 5) + 0.5, normals(19, BATCH, 5) + 0.5
    of = stats.beta(np.exp(log_alpha), np.exp(log_beta))
    distribution = Beta(*on_device(log_alpha, log_beta))
    return Case(distribution, lambda x: summed(of.logpdf(x), 1), of.mean(), of.var())


def continuous_bernoulli() -> Case:
    logits = normals(20, BATCH, 5, scale=4)
    mean = 1 / (1 - np.exp(-logits)) - 1 / logits
    variance = 1 / logits**2 - 1 / (4 * np.sinh(logits / 2) ** 2)
    return Case(
        ContinuousBernoulli(*on_device(logits)),
        lambda x: summed(x * logits - np.log(np.expm1(logits) / logits), 1),
        mean,
        variance,
    )


def _base() -> DiagonalGaussian:
    return DiagonalGaussian(*on_device(normals(21, BATCH, 3), normals(22, BATCH, 3, scale=0.5)))


def planar_flow(shared: bool = False) -> Case:
    own = () if shared else (BATCH,)
    maps = normals(23, *own, 6, 3), normals(24, *own, 6, 3), normals(25, *own, 6)
    return Case(PlanarFlow(_base(), *on_device(*maps)))


def coupling_flow(shared: bool = False) -> Case:
    own = () if shared else (BATCH,)
    maps = (
        normals(26, 6, 3, 8),
        normals(27, *own, 6, 8),
        normals(28, 6, 8, 6, scale=0.4),
        normals(29, 6, 6, scale=0.4),
    )
    return Case(CouplingFlow(_base(), *on_device(*maps)))


CASES = {
    "bernoulli": bernoulli(),
    "beta": beta(),
    "categorical": categorical(),
    "continuous_bernoulli": continuous_bernoulli(),
    "coupling_flow": coupling_flow(),
    "coupling_flow_shared": coupling_flow(shared=True),
    "discretised_logistic": discretised_logistic(),
    "full_gaussian": full_gaussian(),
    "gaussian": gaussian(),
    "gaussian_shared_scale": gaussian(shared=True),
    "logistic_normal": logistic_normal(),
    "mixture": mixture(),
    "mixture_of_each": mixture(shared=False),
    "multinomial": multinomial(),
    "negative_binomial": negative_binomial(),
    "one_hot": one_hot(),
    "planar_flow": planar_flow(),
    "planar_flow_shared": planar_flow(shared=True),
    "poisson": poisson(),
}
