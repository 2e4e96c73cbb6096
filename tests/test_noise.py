"""Keys and bits: addressed by what they are for, and JAX's own bits however they are computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.numerics.noise import example_keys, stream_key
from ae_jax.numerics.threefry import THREEFRY, threefry_2x32

SEED = 2**31 + 5


@pytest.mark.slow
def test_the_hash_gives_the_vectors_of_its_paper():
    # Known answers that Salmon et al. 2011 distribute with their implementation.
    ones, pi = 0xFFFFFFFF, (0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3)
    known = {
        (0, 0, 0, 0): (0x6B200159, 0x99BA4EFE),
        (ones, ones, ones, ones): (0x1CB996FC, 0xBB002BE7),
        pi: (0xC4923A9C, 0x483DF7A0),
    }
    for (key0, key1, first, second), expected in known.items():
        words = jnp.uint32(first), jnp.uint32(second)
        hashed = threefry_2x32(jnp.array([key0, key1], jnp.uint32), *words)
        assert tuple(int(word) for word in hashed) == expected


DRAWS = {
    "normal": lambda key: jax.random.normal(key, (3, 5)),
    "a scalar": lambda key: jax.random.normal(key),
    "nothing": lambda key: jax.random.normal(key, (0, 2)),
    "bernoulli": lambda key: jax.random.bernoulli(key, 0.3, (7,)),
    "permutation": lambda key: jax.random.permutation(key, 20),
    "narrow bits": lambda key: jax.random.bits(key, (9,), "uint8"),
    "split": lambda key: jax.vmap(jax.random.normal)(jax.random.split(key, 3)),
    "folded": lambda key: jax.random.normal(jax.random.fold_in(key, 7), (4,)),
    "vmapped": lambda key: jax.vmap(
        lambda index: jax.random.normal(jax.random.fold_in(key, index), (4,))
    )(jnp.arange(6, dtype=jnp.uint32)),
}


@pytest.mark.slow_cases(
    "normal-eager",
    "permutation-eager",
    "permutation-jit",
    "split-eager",
    "split-jit",
    "vmapped-eager",
    "vmapped-jit",
)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_draws_are_those_of_jax(draw, transform):
    ours, theirs = (
        transform(draw)(jax.random.key(SEED, impl=impl)) for impl in (THREEFRY, "threefry2x32")
    )
    np.testing.assert_array_equal(ours, theirs)


def test_bits_follow_the_setting_of_jax_for_their_layout():
    with jax.threefry_partitionable(False):
        expected = jax.random.bits(jax.random.key(SEED), (5, 3))
        np.testing.assert_array_equal(
            jax.random.bits(jax.random.key(SEED, impl=THREEFRY), (5, 3)), expected
        )
    assert (expected != jax.random.bits(jax.random.key(SEED), (5, 3))).any()


def test_the_noise_of_a_run_is_that_of_plain_keys():
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(SEED), 3), 11)
    ours = stream_key(SEED, "objective", 11)
    np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(key))
    ids = jnp.array([4, 9], jnp.uint32)
    expected = jnp.stack([jax.random.key_data(jax.random.fold_in(key, int(i))) for i in ids])
    np.testing.assert_array_equal(jax.random.key_data(example_keys(ours, ids)), expected)
