"""Bags of words: counts that share a known total."""

import dataclasses
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError, present
from ae_jax.distributions.base import COUNTS, Distribution, Support
from ae_jax.distributions.drawing import draw_from
from ae_jax.distributions.levels import inside_or
from ae_jax.distributions.stirling import HALF_LOG_TWO_PI, stirling_error

_AT_A_TIME = 128  # words of one example that are drawn together


@struct.dataclass
class Multinomial(Distribution):
    """Counts of V kinds given their total, `logits` [..., B, V].

    log_prob takes the total from the value. Draws and expected counts need it beforehand: `totals`,
    [B] or [..., B].

    `with_coefficient` adds the logarithm of the number of orders in which the words can stand, and
    makes log_prob that of the counts. Without it log_prob is that of the words one after another,
    of which the perplexity is made, exp(-sum log_prob / sum totals).

    The counts depend on each other through their total: there is no density of one of them alone.
    """

    logits: Array
    totals: Array | None = None
    with_coefficient: bool = struct.field(pytree_node=False, default=True)
    support: ClassVar[Support] = COUNTS

    def log_prob(self, value: Array) -> Array:
        """sum_v x_v log p_v, and the coefficient: nats, [..., B]; -inf for what are no counts."""
        value, log_p = jnp.broadcast_arrays(value, jax.nn.log_softmax(self.logits, axis=-1))
        inside, x = inside_or(value, self.support, 0.0)
        density = jnp.sum(x * log_p, axis=-1)
        if self.with_coefficient:
            density = density + log_coefficient(x)
        return jnp.where(jnp.all(inside, axis=-1), density, -jnp.inf)

    def known_from(self, value: Array) -> Self:
        """With the totals of counts [B, V], where none are known."""
        if self.totals is not None:
            return self
        return dataclasses.replace(self, totals=value.sum(axis=-1))

    def mean(self) -> Array:
        """Expected counts, [..., B, V]; where the totals are not known, expected shares."""
        shares = jax.nn.softmax(self.logits, axis=-1)
        return shares if self.totals is None else self._totals()[..., None] * shares

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Counts as floats, [K, ..., B, V]. Raises UserError where the totals are not known."""
        if self.totals is None:
            raise UserError(
                "counts cannot be drawn from a multinomial without their totals: give them by "
                "replace(totals=...), one for each example"
            )
        totals = self._totals()[..., None]
        return draw_from(_draw, keys, num_samples, first, 1, self.logits, totals)

    def _totals(self) -> Array:
        totals = present(self.totals, "totals")
        return jnp.broadcast_to(totals, self.logits.shape[:-1]).astype(self.logits.dtype)


def log_coefficient(counts: Array) -> Array:
    """log(total! / prod_v x_v!), nats, [..., V] -> [...]."""
    # log x! = h(x) + x log x - x: the last part cancels in the sum over words, and the shares of
    # the total remain, which are small where the factorials are not.
    total = jnp.sum(counts, axis=-1)
    shares = jnp.maximum(counts, 1.0) / jnp.maximum(total, 1.0)[..., None]
    return _h(total) - jnp.sum(_h(counts) + counts * jnp.log(shares), axis=-1)


def _h(counts: Array) -> Array:
    """log x! - (x log x - x), which grows like log x only."""
    positive = jnp.maximum(counts, 1.0)
    return jnp.where(
        counts == 0.0, 0.0, 0.5 * jnp.log(positive) + HALF_LOG_TWO_PI + stirling_error(positive)
    )


def _draw(key: Array, logits: Array, total: Array) -> Array:
    """Counts of one example, [..., V], from its total [..., 1]."""
    totals = jnp.broadcast_to(total[..., 0], logits.shape[:-1]).reshape(-1)
    rows = logits.reshape(-1, logits.shape[-1])
    keys = jax.random.split(key, len(rows))
    return jax.vmap(_draw_row)(keys, rows, totals).reshape(logits.shape)


def _draw_row(key: Array, logits: Array, total: Array) -> Array:
    """Counts [V], word after word by the inverse of the distribution function, some at a time.

    A chain of binomial counts takes as many steps as there are kinds of words; this takes as many
    as the text is long, and holds nothing larger than its result.
    """
    below = jnp.cumsum(jax.nn.softmax(logits))
    places = jnp.arange(_AT_A_TIME)

    def add(part: Array, counts: Array) -> Array:
        uniform = jax.random.uniform(jax.random.fold_in(key, part), (_AT_A_TIME,), logits.dtype)
        words = jnp.searchsorted(below, uniform * below[-1], side="right")
        is_word = part * _AT_A_TIME + places < total
        return counts.at[words].add(is_word.astype(counts.dtype))

    parts = jnp.ceil(total / _AT_A_TIME).astype(jnp.int32)
    return jax.lax.fori_loop(0, parts, add, jnp.zeros_like(logits))
