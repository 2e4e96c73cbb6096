"""Draws whose parameters enter the sampler itself, such as counts and gamma variates."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.distributions.base import draw_each


def draw_from(
    draw: Callable[..., Array],
    keys: Array,
    num_samples: int,
    first: Array | int,
    event_ndims: int,
    *parameters: Array,
) -> Array:
    """`draw(key, *own)` for each example and sample: [num_samples, ..., B, event...].

    Parameters are [..., B, event...], or lack leading axes; `own` are those of one example,
    [..., event...].
    """
    splits = [parameter.ndim - event_ndims for parameter in parameters]
    leading = [p.shape[:split] for p, split in zip(parameters, splits, strict=True)]
    shape = jnp.broadcast_shapes(*leading, keys.shape)
    full = [
        jnp.broadcast_to(p, (*shape, *p.shape[split:]))
        for p, split in zip(parameters, splits, strict=True)
    ]
    batch = len(shape) - 1

    def one(key: Array, index: Array, *own: Array) -> Array:
        return draw(jax.random.fold_in(key, index), *own)

    examples = jax.vmap(one, (0, None, *[batch] * len(full)), out_axes=batch)
    samples = jax.vmap(examples, (None, 0, *[None] * len(full)))
    return samples(_plain(keys), first + jnp.arange(num_samples), *full)


def _plain(keys: Array) -> Array:
    """The same keys for JAX's own generator, which alone its samplers of counts take."""
    return jax.random.wrap_key_data(jax.random.key_data(keys), impl="threefry2x32")


def draw_categories(logits: Array, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
    """Indices drawn by the Gumbel maximum for logits [B, M], [1, M] or [M]: [num_samples, B]."""
    size, dtype = logits.shape[-1], logits.dtype
    noise = draw_each(lambda key: jax.random.gumbel(key, (size,), dtype), keys, num_samples, first)
    return jnp.argmax(jnp.broadcast_to(logits, noise.shape) + noise, axis=-1)
