"""Data with missing entries: which entries are observed, and how a model fills in the rest.

An entry is missing where it is NaN, and where a pattern hides it. Patterns stand for what a
sensor lost: they belong to the example, so that it lacks the same entries at every visit.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.registry import Registry
from ae_jax.models import Batch, BoundModel
from ae_jax.numerics.noise import example_keys

FIXED_PATTERN_SEED = 20061
NUM_QUADRANTS = 4

Pattern = Callable[[Array, tuple[int, ...], Array | float], Array]


def nothing(key: Array, shape: tuple[int, ...], share: Array | float) -> Array:
    """Nothing is hidden: what is missing is what the data lack."""
    del key, share
    return jnp.zeros(shape, bool)


def pixels(key: Array, shape: tuple[int, ...], share: Array | float) -> Array:
    """Each entry is hidden with probability `share`; the channels of a pixel go together."""
    if len(shape) == 3:
        hidden = jax.random.uniform(key, shape[:2]) < share
        return jnp.broadcast_to(hidden[:, :, None], shape)
    return jax.random.uniform(key, shape) < share


def quadrants(key: Array, shape: tuple[int, ...], share: Array | float) -> Array:
    """Whole quadrants of an image are hidden: 4 * share of them, rounded, drawn at random.

    Raises UserError for data that are not images [H, W, C].
    """
    return _quadrants_before(jax.random.permutation(key, NUM_QUADRANTS), shape, share)


def fixed_quadrants(key: Array, shape: tuple[int, ...], share: Array | float) -> Array:
    """The same quadrants of every image are hidden: 4 * share of them, rounded.

    Lower right goes first, then upper right, upper left, lower left: of a digit one is left the
    lower left, two the left half, three all but the lower right (after Sohn et al. 2015, Sec. 5.1).
    Raises UserError for data that are not images [H, W, C].
    """
    del key
    return _quadrants_before(jnp.array([2, 1, 3, 0]), shape, share)


def _quadrants_before(rank: Array, shape: tuple[int, ...], share: Array | float) -> Array:
    """The first 4 * share quadrants by `rank`: of upper left and right, lower left and right."""
    if len(shape) != 3:
        raise UserError(f"quadrants are those of images (height, width, channels), not of {shape}")
    hidden = rank < jnp.round(NUM_QUADRANTS * jnp.asarray(share))
    below = jnp.arange(shape[0]) >= shape[0] // 2
    right = jnp.arange(shape[1]) >= shape[1] // 2
    quadrant = 2 * below[:, None].astype(int) + right[None, :].astype(int)  # [H, W]
    return jnp.broadcast_to(hidden[quadrant][:, :, None], shape)


PATTERNS = Registry[Pattern](
    "pattern of missing entries",
    {
        "none": nothing,
        "pixels": pixels,
        "quadrants": quadrants,
        "fixed_quadrants": fixed_quadrants,
    },
)


def observed_entries(
    x: Array, ids: Array, pattern: str = "none", share: Array | float = 0.0
) -> Array:
    """Which entries of x [B, ...] are observed, bool [B, ...]; `ids` [B] address the pattern."""
    hide = PATTERNS.get(pattern)
    keys = example_keys(jax.random.key(FIXED_PATTERN_SEED), ids)
    hidden = jax.vmap(lambda key: hide(key, x.shape[1:], share))(keys)
    return ~(hidden | jnp.isnan(x))


def hidden_entries(x: Array, ids: Array, pattern: str, share: Array | float) -> Array:
    """Which entries of x [B, ...] a pattern hides, of those that are known; bool [B, ...]."""
    return observed_entries(x, ids) & ~observed_entries(x, ids, pattern, share)


def fill_in(
    model: BoundModel, batch: Batch, observed: Array, rounds: int = 1, start: float = 0.0
) -> Array:
    """x [B, ...] of a batch with its unobserved entries taken from the model's reconstruction.

    They begin at `start`; each round decodes the mean code and puts the decoder's mean in their
    place, so that the next one encodes a completed example. Unobserved values of x are never used.
    """
    x = batch["x"]
    filled = jnp.where(observed, x, start)
    for _ in range(rounds):
        mean = model.reconstruct({**batch, "x": filled}).mean()[0]
        filled = jnp.where(observed, x, mean)
    return filled


def observed_log_prob(likelihood: Any, x: Array, observed: Array) -> Array:
    """The log density of the observed entries alone, nats, [..., B]: others are integrated out.

    Exact where the likelihood has independent dimensions. Unobserved values of x may be NaN; they
    influence neither the value nor its gradient. Raises UserError for a likelihood that does not
    factorise over the dimensions of the data.
    """
    if not hasattr(likelihood, "event_ndims"):
        raise UserError(f"{type(likelihood).__name__} has no log density for each dimension")
    known = jnp.where(observed, x, 0.0)  # inside the support of every head
    terms = dataclasses.replace(likelihood, event_ndims=0).log_prob(known)
    if terms.shape[terms.ndim - x.ndim :] != x.shape:
        raise UserError(f"{type(likelihood).__name__} has no log density for each dimension")
    seen = jnp.broadcast_to(observed, terms.shape)
    return jnp.where(seen, terms, 0.0).sum(axis=tuple(range(1 - x.ndim, 0)))


def observed_squared_error(mean: Array, x: Array, observed: Array) -> tuple[Array, Array]:
    """Squared error summed over the entries marked, [B], and how many they are, [B]."""
    error = jnp.where(observed, jnp.square(mean - jnp.where(observed, x, 0.0)), 0.0)
    axes = tuple(range(1, x.ndim))
    return error.sum(axis=axes), observed.sum(axis=axes).astype(x.dtype)
