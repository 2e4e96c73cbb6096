"""The linear VAE in closed form: its optimum is probabilistic PCA (Lucas et al. 2019)."""

import dataclasses
import json

import jax
import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs import ProbabilisticPca, as_rows
from ae_jax.codecs.probabilistic_pca import ProbabilisticPcaCodec
from ae_jax.data import DataSet
from experiments.linear_filters import moments_of
from experiments.published import TARGETS


@dataclasses.dataclass(frozen=True)
class Targets:
    """What the closed form gives on MNIST, computed apart from this code."""

    probabilistic_pca: dict[int, dict[str, float]]
    alive: dict[float, int]


def targets() -> Targets:
    record = json.loads((TARGETS / "linear_vae.json").read_text(encoding="utf-8"))
    pca = {int(size): values for size, values in record["probabilistic_pca"].items()}
    return Targets(pca, {float(noise): count for noise, count in record["alive"].items()})


def optimum(dataset: DataSet, size: int) -> ProbabilisticPcaCodec:
    """Probabilistic PCA of the training split in model units, at the most likely noise."""
    x = dataset.splits["train"].x
    rows = as_rows(x.reshape(len(x), -1), scale=1 / dataset.max_value)
    return ProbabilisticPca(size, solver="gram").fit(rows, jax.random.key(0)).codec


def eigenvalues(x: np.ndarray) -> np.ndarray:
    """Of the covariance of rows [N, D], largest first, float64."""
    return np.linalg.eigvalsh(moments_of(x).covariance)[::-1]


def alive(spectrum: np.ndarray, noise_variance: float) -> int:
    """Dimensions that the optimum uses at a fixed noise: eigenvalues above it (Sec. 4 there)."""
    return int((spectrum > noise_variance).sum())


def variances_of_means(spectrum: np.ndarray, noise_variance: float, size: int) -> np.ndarray:
    """Of the posterior mean along each of `size` dimensions at the optimum, [size].

    With W_i^2 = lambda_i - sigma^2 and M_i = lambda_i the mean is W_i u_i / M_i, of variance
    1 - sigma^2 / lambda_i; 0 for what is not alive.
    """
    spectrum = np.maximum(spectrum[:size], 1e-12)
    return np.maximum(1 - noise_variance / spectrum, 0.0)


def as_codec(model: Fitted) -> ProbabilisticPcaCodec:
    """A trained linear VAE's decoder as a linear Gaussian model, whose log p(x) is exact."""
    head = model.params["head"]
    kernel = np.asarray(head["mean"]["kernel"], np.float32)
    return ProbabilisticPcaCodec(
        kernel,
        np.asarray(head["mean"]["bias"], np.float32).reshape(-1),
        np.float32(noise_variance(model)),
        np.square(kernel).sum(axis=1),
        np.float32(np.square(kernel).sum()),
    )


def noise_variance(model: Fitted) -> float:
    """sigma^2 of a Gaussian head with one scale, learned or fixed."""
    likelihood = model.setup.architecture.model.bind(model.variables).decode(
        np.zeros((1, 1, model.config.model.latent_dim), np.float32), {}
    )
    return float(np.exp(2 * float(likelihood.log_scale)))
