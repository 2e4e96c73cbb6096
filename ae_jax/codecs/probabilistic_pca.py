"""PCA as a probabilistic autoencoder: a linear Gaussian model with an exact likelihood."""

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jax.scipy.linalg import solve_triangular

from ae_jax.codecs.base import Codec, CodecSpec, Fit, Progress
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.frame import in_two
from ae_jax.codecs.moments import moments_of_batches
from ae_jax.codecs.pca import Pca
from ae_jax.codecs.rows import Rows, dot
from ae_jax.codecs.spectrum import Spectrum
from ae_jax.core.errors import UserError
from ae_jax.core.ranges import NonNegative
from ae_jax.distributions import DiagonalGaussian, StandardNormal


@struct.dataclass
class ProbabilisticPcaCodec(Codec):
    """p(z) = N(0, I), p(x|z) = N(W z + mean, noise_variance I).

    weights              W^T [Z, D]; the rows of a fitted one are orthogonal
    mean                 [D]
    noise_variance       sigma^2
    explained_variance   of the data along each row of `weights`, N in the denominator, [Z]
    total_variance       summed over all dimensions, likewise
    mean_rest            what float32 cannot hold of the mean, [D] or 0
    """

    weights: Array
    mean: Array
    noise_variance: Array
    explained_variance: Array
    total_variance: Array
    mean_rest: Array | float = 0.0
    has_random_codes: ClassVar[bool] = True

    @property
    def atoms(self) -> Array:
        return self.weights

    @property
    def offset(self) -> Array:
        return self.mean

    @property
    def rest(self) -> Array | float:
        return self.mean_rest

    @property
    def prior(self) -> StandardNormal:
        """p(z)."""
        return StandardNormal(len(self.weights))

    @property
    def log_noise_scale(self) -> Array:
        """log sigma, []."""
        return 0.5 * jnp.log(self.noise_variance)

    @property
    def explained_variance_ratio(self) -> Array:
        """The importance of each component: its share of the variance, [Z]."""
        return self.explained_variance / self.total_variance

    @compiled_method
    def encode(self, x: Array) -> Array:
        """The posterior mean, [B, D] -> [B, Z]."""
        factor = self._factor()
        half = solve_triangular(factor, dot(self.weights, self.centred(x).T), lower=True)
        return solve_triangular(factor.T, half, lower=False).T

    def posterior(self, x: Array) -> DiagonalGaussian:
        """p(z|x) = N(M^-1 W^T (x - mean), sigma^2 M^-1) (Tipping & Bishop 1999, Eq. 6).

        Its covariance is diagonal because the columns of a fitted W are orthogonal.
        """
        lengths = jnp.square(self.weights).sum(axis=1)  # [Z], the diagonal of W^T W
        variance = self.noise_variance / (lengths + self.noise_variance)
        log_scale = 0.5 * jnp.log(variance)
        return DiagonalGaussian(
            self.encode(x), jnp.broadcast_to(log_scale, (x.shape[0], len(log_scale)))
        )

    @compiled_method
    def log_prob(self, x: Array) -> Array:
        """log N(x; mean, W W^T + sigma^2 I), exact, nats, [B] (Eq. 3 there).

        By Woodbury's identity only M = W^T W + sigma^2 I [Z, Z] is factorised. With the posterior
        mean m, the quadratic form is |x - mean - W m|^2 / sigma^2 + |m|^2: no difference of
        large numbers.
        """
        latent_dim, dim = self.weights.shape
        code = self.encode(x)
        residual = self.residuals(x, code)
        quadratic = jnp.square(residual).sum(axis=1) / self.noise_variance
        quadratic += jnp.square(code).sum(axis=1)
        log_det = 2 * jnp.log(jnp.diagonal(self._factor())).sum()
        log_det += (dim - latent_dim) * jnp.log(self.noise_variance)
        return -0.5 * (quadratic + log_det + dim * math.log(2 * math.pi))

    def _factor(self) -> Array:
        """The Cholesky factor of M."""
        m = dot(self.weights, self.weights.T)
        return jnp.linalg.cholesky(m + self.noise_variance * jnp.eye(len(m)))


@struct.dataclass
class ProbabilisticPca(CodecSpec):
    """Probabilistic PCA by maximum likelihood (Tipping & Bishop 1999, Eq. 7 and 8).

    Objective: -log p(x), nats, mean over the training examples. `solver` is that of `Pca`.

    noise_variance   0 is to be fitted. Of a given one the likeliest W has lengths
                     sqrt(variance - noise_variance), or 0; as it goes to 0, posterior means decode
                     to the projections of PCA
    """

    noise_variance: NonNegative = 0.0
    solver: Literal["auto", "svd", "gram", "randomized"] = struct.field(
        pytree_node=False, default="auto"
    )

    def check(self, rows: Rows) -> None:
        self.at_most(
            self.most_atoms(rows.count, rows.dim),
            f"{rows.count} examples of {rows.dim} dimensions have components beside the noise",
        )

    def most_atoms(self, count: int, dim: int) -> int:
        return min(count - 1, dim - 1)

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        found, _, converged = self._pca().spectrum(rows, key, progress)
        return self._finish(found, converged)

    def fit_batches(self, batches: Iterable[np.ndarray], shift: Any = 0.0, scale: Any = 1.0) -> Fit:
        """As `Pca.fit_batches`: the exact fit to data that are never in memory at once."""
        self.check_options()
        pca = self._pca()
        pca.check_moments()
        found = pca.spectrum_of_moments(moments_of_batches(batches, shift, scale))
        self.at_most(len(found.mean) - 1, "the data have components beside the noise")
        return self._finish(found, True)

    def blank(self, data_dim: int) -> ProbabilisticPcaCodec:
        zeros = jnp.zeros
        return ProbabilisticPcaCodec(
            zeros((self.latent_dim, data_dim)),
            zeros(data_dim),
            zeros(()),
            zeros(self.latent_dim),
            zeros(()),
            zeros(data_dim),
        )

    def _pca(self) -> Pca:
        return Pca(self.latent_dim, solver=self.solver)

    def _finish(self, found: Spectrum, converged: bool) -> Fit:
        dim = len(found.mean)
        given = float(self.noise_variance)
        # Less than this is the rounding of float32 sums.
        if not (given > 0 or found.unexplained > 1e-6 * found.total):
            raise UserError(
                f"latent_dim={self.latent_dim} leaves no variance to the noise: the data vary in "
                "no more directions than that, lower latent_dim"
            )
        variance, total = found.squares / found.count, found.total / found.count  # by likelihood
        rest = found.unexplained / found.count
        noise = given or rest / (dim - self.latent_dim)
        lengths = np.sqrt(np.maximum(variance - noise, 0.0))
        mean, mean_rest = in_two(found.mean)
        codec = ProbabilisticPcaCodec(
            jnp.asarray(found.components * lengths[:, None], jnp.float32),
            mean,
            jnp.asarray(noise, jnp.float32),
            jnp.asarray(variance, jnp.float32),
            jnp.asarray(total, jnp.float32),
            mean_rest,
        )
        kept = np.maximum(variance, noise)  # of the model along the components
        log_det = np.log(kept).sum() + (dim - self.latent_dim) * np.log(noise)
        # The mean quadratic form, D where the noise is fitted (Eq. 6 and 7 there).
        quadratic = (variance / kept).sum() + rest / noise
        objective = 0.5 * (dim * math.log(2 * math.pi) + log_det + quadratic)
        return Fit(codec, np.asarray([objective], np.float32), converged)
