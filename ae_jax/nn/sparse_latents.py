"""Codes of which few units are in use: the k highest of each example, the highest of a whole
batch, and those above thresholds that are learned."""

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, Positive
from ae_jax.distributions import ChosenPointMass
from ae_jax.nn.forward import Forward
from ae_jax.numerics.reductions import gather, own_rows

Fraction = Annotated[float, Field(ge=0, lt=1)]
COLLECTION = "sparse_codes"  # what these layers write while they train


class TopKLatent(nn.Module):
    """The `k` highest of `dim` linear units, the others 0 (Makhzani & Frey 2013, Sec. 2.1).

    Exactly k are kept, also where activations are equal. Raises UserError for k beyond dim.
    """

    dim: int
    k: Count = 1
    default_prior: ClassVar[str] = "none"

    @nn.compact
    def __call__(self, features: Array) -> ChosenPointMass:
        _check_k(self.k, self.dim)
        activations = nn.Dense(self.dim, name="code")(features)
        return chosen(activations, highest(activations, self.k))


class BatchTopKLatent(nn.Module):
    """The `k` * B highest of all rectified units of a batch of B examples (Bussmann et al. 2024).

    An example may use more units than another, k on average. The batch is the real examples of all
    devices. Where codes are looked at, an example stands alone: units above a threshold are kept,
    which is the mean over batches of the lowest activation that was kept. It follows the last
    1 / (1 - `momentum`) batches. Raises UserError for k beyond dim.
    """

    dim: int
    k: Count = 1
    momentum: Fraction = 0.99
    can_pad: ClassVar[bool] = True  # units that are 0 take no place of others
    default_prior: ClassVar[str] = "none"

    @nn.compact
    def __call__(self, features: Array, forward: Forward) -> ChosenPointMass:
        _check_k(self.k, self.dim)
        activations = jax.nn.relu(nn.Dense(self.dim, name="code")(features))
        threshold = self.variable(COLLECTION, "threshold", jnp.zeros, ())
        batches = self.variable(COLLECTION, "batches", jnp.zeros, (), jnp.int32)
        if not forward.train or self.is_initializing():
            return chosen(activations, activations > threshold.value)
        mask = forward.mask_of(activations.shape[0])
        kept, lowest = highest_of_batch(activations, mask, self.k, forward.axis_name)
        found = jnp.isfinite(lowest)  # some unit of the batch was above 0
        count = batches.value + found
        share = jnp.maximum(1 / jnp.maximum(count, 1), 1 - self.momentum)
        step = jnp.where(found, share * (lowest - threshold.value), 0.0)
        threshold.value, batches.value = threshold.value + step, count
        return chosen(activations, kept)


class JumpReluLatent(nn.Module):
    """Units above a threshold of their own, the others 0 (Rajamanoharan et al. 2024, Eq. 5).

    z = h where h > theta, with theta = exp(`log_threshold`) learned through a pseudo-derivative: of
    the step H(h - theta) it is that of a ramp of the width `bandwidth` about it (Eq. 11, 12), with
    respect to theta only. A loss of the number of active units (`sparse_l0`) then has a gradient.

    threshold   what theta starts at, for all units
    bandwidth   the paper takes 0.001 for both, with batches of thousands and inputs of norm 1; only
                activations within the ramp tell the threshold anything
    """

    dim: int
    threshold: Positive = 0.1
    bandwidth: Positive = 0.1
    can_pad: ClassVar[bool] = True
    default_prior: ClassVar[str] = "none"

    @nn.compact
    def __call__(self, features: Array) -> ChosenPointMass:
        activations = nn.Dense(self.dim, name="code")(features)
        start = nn.initializers.constant(jnp.log(self.threshold))
        theta = jnp.exp(self.param("log_threshold", start, (self.dim,)))[None]
        return jump_relu(activations, theta, self.bandwidth)


def jump_relu(activations: Array, theta: Array, bandwidth: float) -> ChosenPointMass:
    """Activations [B, Z] above thresholds [1, Z] > 0, with the pseudo-derivatives of both."""
    is_open = (activations > theta).astype(activations.dtype)
    stopped = jax.lax.stop_gradient
    ramp = jnp.clip((stopped(activations) - theta) / bandwidth + 0.5, 0.0, 1.0)
    surrogate = ramp - stopped(ramp)  # 0, with the slope of the ramp in theta
    code = activations * is_open + stopped(theta) * surrogate
    return ChosenPointMass(code, jax.nn.relu(activations), is_open + surrogate)


def chosen(activations: Array, kept: Array) -> ChosenPointMass:
    """The activations [B, Z] that are kept, bool [B, Z], the others 0."""
    code = jnp.where(kept, activations, 0.0)
    return ChosenPointMass(code, activations, kept.astype(activations.dtype))


def highest(values: Array, k: int) -> Array:
    """Which k of the last axis are the highest, bool of the same shape; ties go to the first."""
    _, places = jax.lax.top_k(values, k)
    return jax.nn.one_hot(places, values.shape[-1], dtype=bool).any(axis=-2)


def highest_of_batch(
    values: Array, mask: Array, k: int, axis_name: str | None = None
) -> tuple[Array, Array]:
    """Which values [B, Z] are among the k * (real examples) highest of the whole batch, [B, Z].

    And the lowest value above 0 among them, infinity where there is none. Ties go to the first.
    """
    rows = values.shape[0]
    values, real = gather((jax.lax.stop_gradient(values), mask), axis_name)
    flat = jnp.where(real[:, None] > 0, values, -jnp.inf).reshape(-1)
    best, places = jax.lax.top_k(flat, min(k * len(real), len(flat)))
    among = jnp.arange(len(places)) < k * (real > 0).sum()
    kept = jnp.zeros(flat.shape, bool).at[places].set(among).reshape(values.shape)
    lowest = jnp.min(jnp.where(among & (best > 0), best, jnp.inf))
    return own_rows(kept, rows, axis_name), lowest


def _check_k(k: int, dim: int) -> None:
    if not 1 <= k <= dim:
        raise UserError(f"a code of {dim} units cannot keep its {k} highest")
