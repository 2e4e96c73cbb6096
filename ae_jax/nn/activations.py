"""Element-wise non-linearities by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ae_jax.core.registry import Registry
from ae_jax.numerics.softplus import softplus


def linear(x: jax.Array) -> jax.Array:
    """The identity: layers without a non-linearity, as in the linear autoencoder."""
    return x


ACTIVATIONS = Registry[Callable[[jax.Array], jax.Array]](
    "activation",
    {
        "elu": jax.nn.elu,
        "gelu": jax.nn.gelu,
        "leaky_relu": jax.nn.leaky_relu,
        "linear": linear,
        "relu": jax.nn.relu,
        "sigmoid": jax.nn.sigmoid,
        "silu": jax.nn.silu,
        "softplus": softplus,
        "tanh": jnp.tanh,
    },
)
