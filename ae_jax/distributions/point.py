"""Deterministic codes as distributions, and codes of which no distribution is known."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.distributions.base import UNIT_INTERVAL, Distribution, Support, only


@struct.dataclass
class PointMass(Distribution):
    """A deterministic code as a posterior: its sample is the code, [B, Z].

    A point mass has no density against that of a prior; its `log_prob` is the log of the
    probability of the atom, 0 on the code.
    """

    loc: Array
    is_deterministic: ClassVar[bool] = True

    def mean(self) -> Array:
        return self.loc

    def stddev(self) -> Array:
        """0: nothing is random, [B, Z]."""
        return jnp.zeros_like(self.loc)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """The code itself, num_samples times, [K, B, Z]."""
        del keys, first  # nothing is random
        return jnp.broadcast_to(self.loc, (num_samples, *self.loc.shape))

    def restricted(self, active: Array) -> "PointMass":
        return dataclasses.replace(self, loc=only(active, self.loc))

    def log_prob(self, value: Array) -> Array:
        """0 on the code, else -inf: [K, B, Z] -> [K, B]."""
        return jnp.where(jnp.all(value == self.loc[None], axis=-1), 0.0, -jnp.inf)


@struct.dataclass
class UnitPointMass(PointMass):
    """A deterministic code whose values lie between 0 and 1, as the rates of binary units do."""

    support: ClassVar[Support] = UNIT_INTERVAL


@struct.dataclass
class ChosenPointMass(PointMass):
    """A deterministic code of which some units were chosen and the others are 0.

    candidates   [B, Z], what the units would be if all of them were
    gates        [B, Z], 1 where a unit is chosen, else 0; with a gradient where the choice has one
    """

    candidates: Array
    gates: Array

    def restricted(self, active: Array) -> "ChosenPointMass":
        return ChosenPointMass(
            *(only(active, part) for part in (self.loc, self.candidates, self.gates))
        )


@struct.dataclass
class NoPrior(Distribution):
    """In the place of p(z) where codes of `dim` dimensions are what the encoder makes them.

    By the convention of deterministic autoencoders it adds nothing to a bound, which makes the
    ELBO the reconstruction term; there is nothing to draw from.
    """

    dim: int = struct.field(pytree_node=False)
    active: Array | None = None
    is_deterministic: ClassVar[bool] = True

    def log_prob(self, value: Array) -> Array:
        """0 everywhere, by the convention above."""
        return jnp.zeros(value.shape[:-1], value.dtype)

    def mean(self) -> Array:
        raise UserError("this model has no prior over codes, and so no mean of them")

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        raise UserError(
            "this model has no prior over codes to draw from: its codes are deterministic"
        )

    def restricted(self, active: Array) -> "NoPrior":
        return dataclasses.replace(self, active=active)
