"""The normaliser of a Bernoulli in terms of its logit, which the likelihood and machines share."""

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), exact for large |x|, with the sigmoid as its derivative.

    JAX's own is a case of `logaddexp`, whose derivative computes more than is needed here.
    """
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


softplus.defjvps(lambda tangent, value, x: tangent * jax.nn.sigmoid(x))
