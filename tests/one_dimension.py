"""A linear Gaussian model of one code dimension, whose expectations are sums: float64 NumPy."""

import itertools

import numpy as np

from ae_jax.models import Examples, build_autoencoder
from ae_jax.models.config import ModelConfig

SCALE = 0.8
DATA = 2
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(48)
WEIGHTS = WEIGHTS / WEIGHTS.sum()  # of a standard normal

Params = dict


def model():
    """p(z) = N(0, 1), p(x|z) = N(W z + b, SCALE^2 I) over two values; q(z|x) linear."""
    config = ModelConfig(hidden=(), latent_dim=1, head="gaussian_fixed", head_scale=SCALE)
    return build_autoencoder(config, Examples((DATA,)))


def params(seed: int = 0) -> Params:
    """Some parameters of `model`, of which none is special; the encoder is not the posterior."""
    rng = np.random.default_rng(seed)
    return {
        "latent": {
            "loc": {"kernel": rng.normal(0, 0.4, (DATA, 1)), "bias": rng.normal(0, 0.4, 1)},
            "log_variance": {
                "kernel": rng.normal(0, 0.1, (DATA, 1)),
                "bias": rng.normal(-0.5, 0.2, 1),
            },
        },
        "head": {
            "mean": {"kernel": rng.normal(0, 1.0, (1, DATA)), "bias": rng.normal(0, 0.5, DATA)}
        },
    }


def posterior(theta: Params, x: np.ndarray) -> tuple[float, float]:
    """Mean and variance of q(z|x) for one x [D]."""
    latent = theta["latent"]
    mean = x @ latent["loc"]["kernel"] + latent["loc"]["bias"]
    log_variance = x @ latent["log_variance"]["kernel"] + latent["log_variance"]["bias"]
    return mean[0], np.exp(log_variance[0])


def log_normal(value, mean, variance):
    return -0.5 * ((value - mean) ** 2 / variance + np.log(2 * np.pi * variance))


def log_joint(theta: Params, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p(x, z) for z [...]."""
    means = z[..., None] * theta["head"]["mean"]["kernel"][0] + theta["head"]["mean"]["bias"]
    return log_normal(x, means, SCALE**2).sum(axis=-1) + log_normal(z, 0.0, 1.0)


def nodes(theta: Params, x: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """All combinations of K codes [M, K] with their probabilities [M] under q(z|x)."""
    mean, variance = posterior(theta, x)
    noise = np.array(list(itertools.product(NODES, repeat=samples)))
    weights = np.prod(list(itertools.product(WEIGHTS, repeat=samples)), axis=1)
    return mean + np.sqrt(variance) * noise, weights


def log_weights(theta: Params, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p(x, z) - log q(z|x)."""
    return log_joint(theta, x, z) - log_normal(z, *posterior(theta, x))


def bound(theta: Params, x: np.ndarray, samples: int) -> float:
    """E log 1/K sum_k w_k, exactly."""
    z, weights = nodes(theta, x, samples)
    return weights @ np.log(np.exp(log_weights(theta, x, z)).mean(axis=1))


def gradient(function, theta: Params, step: float = 1e-5) -> Params:
    """Central differences of a function of the parameters."""

    def derivative(path, index):
        ends = [function(_moved(theta, path, index, sign * step)) for sign in (1, -1)]
        return (ends[0] - ends[1]) / (2 * step)

    def of(tree, path=()):
        if isinstance(tree, dict):
            return {name: of(value, (*path, name)) for name, value in tree.items()}
        values = [derivative(path, index) for index in np.ndindex(tree.shape)]
        return np.array(values).reshape(tree.shape)

    return of(theta)


def _moved(tree, path, index, by):
    if not path:
        moved = tree.copy()
        moved[index] += by
        return moved
    return {**tree, path[0]: _moved(tree[path[0]], path[1:], index, by)}
