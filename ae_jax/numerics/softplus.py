"""Bernoulli values in terms of their logits: the normaliser, and the likelihood of many."""

import jax
import jax.numpy as jnp
from jax import Array, lax

_AT_ONCE = 8  # terms that share a logarithm: of less than 2^8 together, which every type holds


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), exact for large |x|, with the sigmoid as its derivative.

    JAX's own is a case of `logaddexp`, whose derivative computes more than is needed here.
    """
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


softplus.defjvps(lambda tangent, value, x: tangent * jax.nn.sigmoid(x))


@jax.custom_jvp
def binary_log_likelihood(x: Array, logits: Array) -> Array:
    """sum_d x_d l_d - log(1 + exp(l_d)), [..., D] and [..., D] -> [...], for x in [0, 1].

    To the relative precision of `softplus`, saturated logits included. Up to eight terms share one
    logarithm, that of the product of their 1 + exp(-|l|): logarithms are most of what the
    likelihood of a binary image costs on a CPU after its matrix products.
    """
    size = logits.shape[-1]
    group = max(n for n in range(1, _AT_ONCE + 1) if size % n == 0)
    rest = jnp.exp(-jnp.abs(logits)).reshape(*logits.shape[:-1], group, size // group)
    # The product less 1, (1 + a)(1 + b) - 1 at a time: 1 + a would lose a small a.
    zero = jnp.zeros((), rest.dtype)
    products = lax.reduce(rest, zero, lambda a, b: a + b + a * b, (rest.ndim - 2,))
    linear = x * logits - jnp.maximum(logits, 0.0)
    return linear.sum(axis=-1) - jnp.log1p(products).sum(axis=-1)


@binary_log_likelihood.defjvp
def _slope(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, logits), (along_x, along_logits) = primals, tangents
    change = along_x * logits + along_logits * (x - jax.nn.sigmoid(logits))
    return binary_log_likelihood(x, logits), change.sum(axis=-1)
