"""JAX's generator of random bits, written out without loops.

On a CPU, JAX compiles Threefry to a loop that calls a dozen small kernels. Around one small network
that is a noticeable part of a step; written out, a call is one kernel. The bits are the same.
"""

from math import prod

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.random import define_prng_impl

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


@jax.jit
def threefry_2x32(key: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011, Sec. 3.3) of two words of equal shape.

    `key` is uint32 [2], the words are uint32.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    first, second = first + keys[0], second + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            first = first + second
            second = (second << rotation) | (second >> (32 - rotation))
            second = second ^ first
        first = first + keys[(group + 1) % 3]
        second = second + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return first, second


def _fold_in(key: Array, data: Array | int) -> Array:
    zero = jnp.zeros((), jnp.uint32)
    return jnp.stack(threefry_2x32(key, zero, jnp.asarray(data).astype(jnp.uint32)))


def _random_bits(key: Array, width: int, shape: tuple[int, ...]) -> Array:
    """Bits as JAX's own generator gives them with `jax_threefry_partitionable`, its default."""
    if width != 32 or prod(shape) >= 2**32 or not _is_partitionable():
        return jax.random.bits(_own(key), shape, f"uint{width}")
    position = jax.lax.iota(jnp.uint32, prod(shape)).reshape(shape)
    first, second = threefry_2x32(key, jnp.zeros_like(position), position)
    # Where JAX's loop ends, fusion does: so that programs which are given the same bits go on from
    # them in the same way, to the last bit, whatever surrounds the step.
    return jax.lax.optimization_barrier(first ^ second)


def _is_partitionable() -> bool:
    return jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]  # set as JAX starts


def _own(key: Array) -> Array:
    """The same key for JAX's own generator."""
    return jax.random.wrap_key_data(key, impl="threefry2x32")


THREEFRY = define_prng_impl(
    key_shape=(2,),
    seed=lambda seed: jax.random.key_data(jax.random.key(seed, impl="threefry2x32")),
    split=lambda key, shape: jax.random.key_data(jax.random.split(_own(key), shape)),
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry written out",
    tag="try",
)
