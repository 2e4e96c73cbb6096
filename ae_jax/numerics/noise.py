"""Keys for noise that is addressed by what it is for, never by where it is drawn.

The noise of a step depends on the run's seed, the step and the example's id. It is therefore the
same on one device and on many, and the same after a resume.
"""

import jax
from jax import Array

from ae_jax.numerics.precision import bit_generator

_STREAMS = ("initialisation", "order", "preprocessing", "objective", "evaluation", "fit")


def stream_key(seed: Array | int, stream: str, step: Array | int = 0) -> Array:
    """The key of one use of randomness in a run, at a step (or epoch) of it."""
    key = jax.random.fold_in(jax.random.key(seed, impl=bit_generator()), _STREAMS.index(stream))
    return jax.random.fold_in(key, step)


def example_keys(key: Array, ids: Array) -> Array:
    """One key an example, [B], from a common key and the examples' ids [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, ids)
