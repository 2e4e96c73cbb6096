"""A latent variable model whose evidence and posterior are known in closed form."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from scipy import stats

from ae_jax.models import Autoencoder, Examples, build_autoencoder
from ae_jax.train.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(W z + b, s^2 I), as probabilistic PCA (Tipping & Bishop 1999).

    The columns of `weights` W [D, Z] are orthogonal, so that the posterior has independent
    dimensions and a linear Gaussian encoder can be exact.
    """

    weights: np.ndarray
    bias: np.ndarray
    scale: float

    @classmethod
    def example(cls) -> "LinearGaussian":
        """Five data dimensions, two codes."""
        rng = np.random.default_rng(7)
        columns, _ = np.linalg.qr(rng.normal(size=(5, 2)))
        return cls(columns * [1.5, 0.7], rng.normal(size=5), 0.6)

    @property
    def model(self) -> Autoencoder:
        config = ModelConfig(
            hidden=(),
            latent_dim=self.weights.shape[1],
            head="gaussian_fixed",
            head_scale=self.scale,
        )
        return build_autoencoder(config, Examples((len(self.bias),)))

    def params(self, loc_kernel, loc_bias, log_variance) -> dict:
        """Parameters of `model` with this decoder and an encoder of the given numbers."""
        tree = {
            "latent": {
                "loc": {"kernel": loc_kernel, "bias": loc_bias},
                "log_variance": {
                    "kernel": np.zeros(self.weights.shape),
                    "bias": log_variance,
                },
            },
            "head": {"mean": {"kernel": self.weights.T, "bias": self.bias}},
        }
        return _float32(tree)

    @property
    def exact_params(self) -> dict:
        """Those whose encoder is the true posterior."""
        gain = self.weights / self.scale**2 * self.posterior_variance  # [D, Z]
        return self.params(gain, -self.bias @ gain, np.log(self.posterior_variance))

    def wrong_params(self, seed: int) -> dict:
        """Those of some encoder that is not the true posterior."""
        rng = np.random.default_rng(seed)
        dim = self.weights.shape[1]
        kernel = rng.normal(0, 0.3, self.weights.shape)
        return self.params(kernel, rng.normal(0, 0.5, dim), rng.normal(-1, 0.7, dim))

    @property
    def posterior_variance(self) -> np.ndarray:
        """Of each dimension of the code, [Z]."""
        return 1 / (1 + (self.weights**2).sum(axis=0) / self.scale**2)

    def posterior_mean(self, x: np.ndarray) -> np.ndarray:
        """[N, D] -> [N, Z]."""
        return (x - self.bias) @ self.weights / self.scale**2 * self.posterior_variance

    def log_evidence(self, x: np.ndarray) -> np.ndarray:
        """log p(x) = log N(x; b, W W^T + s^2 I), nats, [N]."""
        covariance = self.weights @ self.weights.T + self.scale**2 * np.eye(len(self.bias))
        return stats.multivariate_normal(self.bias, covariance).logpdf(x)

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Data from the model, [N, D] float32."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(count, self.weights.shape[1]))
        noise = self.scale * rng.normal(size=(count, len(self.bias)))
        return (z @ self.weights.T + self.bias + noise).astype(np.float32)


def _float32(tree):
    return {
        name: _float32(value) if isinstance(value, dict) else jnp.asarray(value, jnp.float32)
        for name, value in tree.items()
    }
