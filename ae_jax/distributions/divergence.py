"""KL(q || p) by the pair of families: closed forms, and an error for every other pair."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ae_jax.core.errors import UserError
from ae_jax.distributions.base import Distribution, only
from ae_jax.distributions.gaussian import DiagonalGaussian, StandardNormal
from ae_jax.distributions.point import NoPrior, PointMass

Divergence = Callable[[Any, Any], Array]
_BY_DIMENSION: dict[tuple[type, type], Divergence] = {}
_WHOLE: dict[tuple[type, type], Divergence] = {}


def closed_form(q: type, p: type, *, by_dimension: bool = False) -> Callable:
    """Registers a function (q, p) -> nats, [B], or [B, Z] where it is a sum over dimensions."""

    def register(function: Divergence) -> Divergence:
        (_BY_DIMENSION if by_dimension else _WHOLE)[q, p] = function
        return function

    return register


def kl(q: Distribution, p: Distribution) -> Float[Array, " B"]:
    """KL(q || p), nats, [B]. Raises UserError for a pair without a closed form."""
    divergence = _found(_BY_DIMENSION, q, p)
    if divergence is not None:
        return divergence(q, p).sum(axis=-1)
    divergence = _found(_WHOLE, q, p)
    if divergence is None:
        raise _unknown(q, p)
    return divergence(q, p)


def kl_per_dim(q: Distribution, p: Distribution) -> Float[Array, "B Z"]:
    """KL of each dimension, nats, [B, Z]. Raises UserError where it is no sum over dimensions."""
    divergence = _found(_BY_DIMENSION, q, p)
    if divergence is None:
        raise UserError(
            f"the KL of {type(q).__name__} to {type(p).__name__} is not known dimension by "
            "dimension; what asks for that (free bits, KL a dimension) needs factorised ones"
        )
    return divergence(q, p)


def has_kl(q: Distribution, p: Distribution) -> bool:
    """Whether `kl` knows the pair."""
    return has_kl_per_dim(q, p) or _found(_WHOLE, q, p) is not None


def has_kl_per_dim(q: Distribution, p: Distribution) -> bool:
    """Whether `kl_per_dim` knows the pair."""
    return _found(_BY_DIMENSION, q, p) is not None


def _found(table: dict[tuple[type, type], Divergence], q: Any, p: Any) -> Divergence | None:
    """The entry of the nearest ancestors of both."""
    for left in type(q).__mro__:
        for right in type(p).__mro__:
            if (left, right) in table:
                return table[left, right]
    return None


def _unknown(q: Distribution, p: Distribution) -> UserError:
    if q.is_deterministic:
        return UserError(
            f"the KL of a deterministic code ({type(q).__name__}) to {type(p).__name__} is "
            "infinite: a bound needs a random code, or no prior (model.prior=none)"
        )
    if isinstance(p, NoPrior):
        return UserError(
            f"a random code ({type(q).__name__}) has no KL where there is no prior: a bound needs "
            "one, such as model.prior=standard_normal"
        )
    return UserError(
        f"there is no closed form of the KL of {type(q).__name__} to {type(p).__name__}; estimate "
        "it by Monte Carlo (objective.kl_form=monte_carlo), or register one with "
        "ae_jax.distributions.closed_form"
    )


@closed_form(DiagonalGaussian, StandardNormal, by_dimension=True)
def _to_standard_normal(q: DiagonalGaussian, p: StandardNormal) -> Array:
    """Kingma & Welling 2014, App. B."""
    check_dims(q.loc.shape[-1], p.dim)
    variance = jnp.exp(2 * q.log_scale)
    return only(q.active, 0.5 * (jnp.square(q.loc) + variance - 1.0) - q.log_scale)


@closed_form(DiagonalGaussian, DiagonalGaussian, by_dimension=True)
def _of_diagonal_gaussians(q: DiagonalGaussian, p: DiagonalGaussian) -> Array:
    check_dims(q.loc.shape[-1], p.loc.shape[-1])
    difference = (q.loc - p.loc) * jnp.exp(-p.log_scale)
    log_ratio = q.log_scale - p.log_scale
    terms = 0.5 * (jnp.square(difference) + jnp.exp(2 * log_ratio) - 1.0) - log_ratio
    return only(q.active, terms)


@closed_form(StandardNormal, DiagonalGaussian, by_dimension=True)
def _of_standard_normal(q: StandardNormal, p: DiagonalGaussian) -> Array:
    return _of_diagonal_gaussians(q.as_diagonal(), p)


@closed_form(StandardNormal, StandardNormal, by_dimension=True)
def _of_standard_normals(q: StandardNormal, p: StandardNormal) -> Array:
    check_dims(q.dim, p.dim)
    return jnp.zeros((1, q.dim))


@closed_form(PointMass, NoPrior, by_dimension=True)
def _without_prior(q: PointMass, p: NoPrior) -> Array:
    """0 by convention: a deterministic autoencoder pays nothing for its code."""
    check_dims(q.loc.shape[-1], p.dim)
    return jnp.zeros_like(q.loc)


def check_dims(left: int, right: int) -> None:
    """Raises UserError unless code and prior have as many dimensions."""
    if left != right:
        raise UserError(f"the KL of codes of {left} dimensions to a prior of {right} is undefined")
