"""Anomaly scores: one number an example, and the higher it is, the more anomalous is the example.

A score is `(model, batch, key) -> [B]`, the model a `BoundModel` that is looked at; one that cannot
be had of a model raises UserError when it is traced. To add one: a frozen dataclass of its options,
hashable, as it is compiled in, and a line in `SCORES`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int32, Real

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count
from ae_jax.core.registry import Registry
from ae_jax.distributions import DiagonalGaussian, FullGaussian, OneHot, StandardNormal, has_kl
from ae_jax.distributions.base import only
from ae_jax.distributions.full_gaussian import solved
from ae_jax.eval.bounds import ImportanceSampledLikelihood, codes_of
from ae_jax.eval.reconstruction import squared_errors
from ae_jax.models import Batch, BoundModel
from ae_jax.objectives import Elbo
from ae_jax.objectives.elbo import KlForm

Score = Callable[[BoundModel, Batch, Array], Array]


@dataclasses.dataclass(frozen=True)
class ReconstructionError:
    """Squared error of the mean reconstruction from the mean code, summed over dimensions.

    In model units; of what is missing there is no error.
    """

    accepts_missing: ClassVar[bool] = True

    def __call__(self, model: BoundModel, batch: Batch, key: Array) -> Array:
        return squared_errors(model, batch, key)["squared_error_per_example"]


@dataclasses.dataclass(frozen=True)
class NegativeBound(Checked):
    """-ELBO, nats: the mean over `num_samples` codes of -log p(x|z), and the KL.

    The KL is analytic where the pair of posterior and prior has a closed form.
    """

    num_samples: Count = 10

    @property
    def codes_at_once(self) -> int:
        """Codes of an example that are decoded together."""
        return self.num_samples

    def __call__(self, model: BoundModel, batch: Batch, key: Array) -> Array:
        posterior, prior = codes_of(model, batch)
        if posterior.is_deterministic or prior.is_deterministic:
            raise UserError(
                "the score bound needs a model with a random code and a prior over it; "
                "reconstruction is the score of any"
            )
        form: KlForm = "analytic" if has_kl(posterior, prior) else "monte_carlo"
        elbo = Elbo(num_samples=self.num_samples, kl_form=form)
        return -elbo(model, batch, key, jnp.zeros((), jnp.int32)).metrics["elbo"]


@dataclasses.dataclass(frozen=True)
class NegativeLogLikelihood(Checked):
    """-log p(x), nats: exact for a codec with a density, else by importance sampling.

    The estimate takes `num_samples` codes from q(z|x) and is an upper bound in expectation (Burda
    et al. 2016, Eq. 8).
    """

    num_samples: Count = 100

    @property
    def codes_at_once(self) -> int:
        """Codes of an example that are decoded together."""
        return min(self.num_samples, ImportanceSampledLikelihood().part)

    def __call__(self, model: BoundModel, batch: Batch, key: Array) -> Array:
        if hasattr(model.params, "log_prob"):  # a codec, which is its own parameters
            return -model.call("log_prob", batch, batch)
        if any(each.is_deterministic for each in codes_of(model, batch)):
            raise UserError(
                "the score log_likelihood needs a density: a random code with a prior over it, or "
                "a codec such as probabilistic_pca"
            )
        estimate = ImportanceSampledLikelihood(self.num_samples)
        return -estimate.values_of(model, batch, key)["log_likelihood"]


@dataclasses.dataclass(frozen=True)
class CodeDistance:
    """How far the mean code lies from where the prior has codes.

    The Mahalanobis distance from a Gaussian prior; of any other prior -log p(z), nats, which is a
    density in the units of the code and may be negative. Of one-hot codes it is the mean of
    -log p(z) over q(z|x): their mean code is none itself.
    """

    accepts_missing: ClassVar[bool] = True

    def __call__(self, model: BoundModel, batch: Batch, key: Array) -> Array:
        prior = model.prior(batch)
        if prior.is_deterministic:
            raise UserError("the score code needs a prior over codes, and this model has none")
        x = batch["x"]
        code = model.encode({**batch, "x": jnp.where(jnp.isnan(x), 0.0, x)}).mean()
        if isinstance(prior, OneHot):
            log_p = prior.log_probabilities()
            return -jnp.sum(code * jnp.where(code > 0, log_p, 0.0), axis=-1)
        squares = squared_mahalanobis(code, prior)
        return -prior.log_prob(code) if squares is None else jnp.sqrt(squares)


def squared_mahalanobis(code: Float[Array, "B Z"], prior: object) -> Float[Array, " B"] | None:
    """(z - m)^T S^-1 (z - m) of codes [B, Z] under N(m, S), [B]; None of what is no Gaussian."""
    if isinstance(prior, StandardNormal):
        return squared_mahalanobis(code, prior.as_diagonal())
    if isinstance(prior, DiagonalGaussian):
        standardised = (code - prior.loc) * jnp.exp(-prior.log_scale)
        return jnp.square(only(prior.active, standardised)).sum(axis=-1)
    if isinstance(prior, FullGaussian):
        difference = only(prior.active, code - prior.loc)
        return jnp.square(solved(prior.scale_tril, difference[..., None])).sum(axis=(-2, -1))
    return None


SCORES = Registry[type](
    "score",
    {
        "bound": NegativeBound,
        "code": CodeDistance,
        "log_likelihood": NegativeLogLikelihood,
        "reconstruction": ReconstructionError,
    },
)


def score_named(kind: str, num_samples: int | None = None) -> Score:
    """The score of that name; `num_samples` codes an example, where it draws any.

    Raises UserError for a number of samples that the score has no use for.
    """
    found = SCORES.get(kind)
    if num_samples is None:
        return found() if isinstance(found, type) else found
    if num_samples < 1:
        raise UserError(f"a score needs at least one sample of the code, not {num_samples}")
    options = [f.name for f in dataclasses.fields(found)] if isinstance(found, type) else []
    if "num_samples" not in options:
        raise UserError(
            f"the score {kind} draws no codes: a number of samples is for bound and log_likelihood"
        )
    return found(num_samples=num_samples)


def threshold_at(scores: Real[np.ndarray, "*any"], rate: float) -> float:
    """The least threshold that at most a share `rate` of the given scores [N] lies above.

    An anomaly is what scores above it, as `outliers` says. The scores are those of examples that
    are none, best of examples that the model was not trained on. Raises UserError.
    """
    scores = np.asarray(scores, np.float64)
    if not 0 <= rate < 1:
        raise UserError(f"a false-positive rate lies between 0 and 1, not at {rate:g}")
    if scores.ndim != 1 or not len(scores):
        raise UserError("a threshold needs the scores of at least one example")
    if np.isnan(scores).any():
        raise UserError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN")
    above = math.floor(rate * len(scores) + 1e-9)  # 0.29 of 100 are 29, also in floating point
    return float(np.sort(scores)[len(scores) - 1 - above])


def outliers(scores: Real[np.ndarray, " N"], threshold: float) -> Int32[np.ndarray, " N"]:
    """1 for each of the scores [N] above the threshold, else 0; int32."""
    return (np.asarray(scores) > threshold).astype(np.int32)
