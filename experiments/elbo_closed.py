"""Two models in which every term of log p(x) = ELBO + KL(q || p(z|x)) has a formula of its own.

float64, nats, one value an example [N]. No term is computed from another one.
"""

import dataclasses
import itertools

import numpy as np
from scipy import stats
from scipy.special import xlogy


@dataclasses.dataclass(frozen=True)
class Terms:
    """The evidence, the bound and the divergence of q from the posterior, [N] each."""

    log_p: np.ndarray
    elbo: np.ndarray
    kl: np.ndarray

    @property
    def residual(self) -> float:
        """|log p - ELBO - KL|, the largest over examples."""
        return float(np.abs(self.log_p - self.elbo - self.kl).max())


@dataclasses.dataclass(frozen=True)
class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(W z + b, s^2 I); q(z|x) = N(mean, covariance)."""

    weights: np.ndarray  # W [D, Z]
    bias: np.ndarray
    scale: float

    @classmethod
    def example(cls, rng: np.random.Generator) -> "LinearGaussian":
        return cls(rng.normal(size=(6, 2)), rng.normal(size=6), 0.7)

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        z = rng.normal(size=(count, self.weights.shape[1]))
        noise = self.scale * rng.normal(size=(count, len(self.bias)))
        return z @ self.weights.T + self.bias[None] + noise

    @property
    def covariance(self) -> np.ndarray:
        """Of x, [D, D]."""
        return self.weights @ self.weights.T + self.scale**2 * np.eye(len(self.bias))

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means [N, Z] and the covariance [Z, Z], by conditioning the joint Gaussian on x."""
        gain = np.linalg.solve(self.covariance, self.weights).T
        size = self.weights.shape[1]
        return (x - self.bias[None]) @ gain.T, np.eye(size) - gain @ self.weights

    def wrong(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Some other linear Gaussian encoder."""
        size = self.weights.shape[1]
        root = 0.4 * rng.normal(size=(size, size)) + np.eye(size)
        return 0.3 * x @ rng.normal(size=self.weights.shape), 0.3 * root @ root.T

    def terms(self, x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> Terms:
        """log p by the marginal Gaussian; the bound by E_q log p(x|z) - KL(q || p(z)); the
        divergence by that of two Gaussians."""
        size = self.weights.shape[1]
        off = x - self.bias[None] - mean @ self.weights.T
        spread = np.trace(self.weights @ covariance @ self.weights.T)
        expected = -0.5 * (np.square(off).sum(axis=1) + spread) / self.scale**2
        expected -= 0.5 * len(self.bias) * np.log(2 * np.pi * self.scale**2)
        to_prior = gaussian_kl(mean, covariance, np.zeros_like(mean), np.eye(size))
        return Terms(
            log_p=stats.multivariate_normal(self.bias, self.covariance).logpdf(x),
            elbo=expected - to_prior,
            kl=gaussian_kl(mean, covariance, *self.posterior(x)),
        )


def gaussian_kl(
    mean: np.ndarray, covariance: np.ndarray, other: np.ndarray, of_other: np.ndarray
) -> np.ndarray:
    """KL(N(mean, covariance) || N(other, of_other)), means [N, Z]: [N]."""
    inverse = np.linalg.inv(of_other)
    off = other - mean
    squares = np.einsum("nz,zy,ny->n", off, inverse, off)
    log_det = np.linalg.slogdet(of_other)[1] - np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(inverse @ covariance) + squares - len(covariance) + log_det)


@dataclasses.dataclass(frozen=True)
class Discrete:
    """z one of K, x of D bits: p(z) = prior, p(x|z) a product of Bernoullis, all enumerated."""

    prior: np.ndarray  # [K]
    bits: np.ndarray  # p(x_d = 1 | z), [K, D]

    @classmethod
    def example(cls, rng: np.random.Generator) -> "Discrete":
        return cls(rng.dirichlet(np.ones(4)), rng.uniform(0.05, 0.95, (4, 6)))

    @property
    def values(self) -> np.ndarray:
        """All x, [2^D, D]: their own numbers in binary."""
        return np.array(list(itertools.product((0, 1), repeat=self.bits.shape[1])))

    @property
    def joint(self) -> np.ndarray:
        """p(x, z) of all of them, [2^D, K]; sums to 1."""
        x = self.values[:, None]
        return self.prior[None] * np.where(x == 1, self.bits[None], 1 - self.bits[None]).prod(-1)

    def number(self, x: np.ndarray) -> np.ndarray:
        """Which of all values each example is, [N]."""
        return x @ (2 ** np.arange(x.shape[1])[::-1])

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        z = rng.choice(len(self.prior), count, p=self.prior)
        return (rng.uniform(size=(count, self.bits.shape[1])) < self.bits[z]).astype(int)

    def posterior(self, x: np.ndarray) -> np.ndarray:
        """p(z|x), [N, K]: columns of the table by Bayes."""
        rows = self.joint[self.number(x)]
        return rows / rows.sum(axis=1, keepdims=True)

    def wrong(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.dirichlet(np.ones(len(self.prior)), len(x))

    def terms(self, x: np.ndarray, q: np.ndarray) -> Terms:
        """log p from the table of p(x); the bound by E_q log p(x|z) - KL(q || p(z)) in logarithms;
        the divergence from the posterior of the table."""
        log_likelihood = x @ np.log(self.bits).T + (1 - x) @ np.log1p(-self.bits).T
        to_prior = xlogy(q, q / self.prior[None]).sum(axis=1)
        return Terms(
            log_p=np.log(self.joint.sum(axis=1)[self.number(x)]),
            elbo=(q * log_likelihood).sum(axis=1) - to_prior,
            kl=xlogy(q, q / self.posterior(x)).sum(axis=1),
        )


def closed_form_terms(count: int, seed: int = 0) -> dict[tuple[str, str], Terms]:
    """By model and q, for `count` examples drawn from each model."""
    rng = np.random.default_rng(seed)
    found = {}
    gaussian, discrete = LinearGaussian.example(rng), Discrete.example(rng)
    x = gaussian.sample(count, rng)
    for name, q in (("right", gaussian.posterior(x)), ("wrong", gaussian.wrong(x, rng))):
        found["linear Gaussian", name] = gaussian.terms(x, *q)
    x = discrete.sample(count, rng)
    for name, q in (("right", discrete.posterior(x)), ("wrong", discrete.wrong(x, rng))):
        found["discrete", name] = discrete.terms(x, q)
    return found
