"""Hamiltonian Monte Carlo over the codes of many examples at once.

Chains [C, B, Z] are C for each example; each has its own noise, from one key an example. The target
lies on the geometric path between two densities, log f = (1 - beta) log base + beta log joint.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions import draw_each
from ae_jax.models.base import Batch, BoundModel

LogDensity = Callable[[Array], Array]  # codes [C, B, Z] -> nats [C, B]

# The optimum for many dimensions is 0.65 (Neal 2011); of few, that lies where paths turn unstable.
TARGET_ACCEPTANCE = 0.8
MOMENTA, CHOICES, LENGTHS = 0x40A0, 0x40A1, 0x40A2  # folded into an example's key


@struct.dataclass
class Place:
    """Codes z [C, B, Z], and both ends of the path there: log densities [C, B] and gradients."""

    z: Array
    base: Array
    joint: Array
    base_gradient: Array
    joint_gradient: Array

    def log_density(self, beta: Array | float) -> Array:
        """Of the target, up to a constant, [C, B]."""
        return (1 - beta) * self.base + beta * self.joint

    def gradient(self, beta: Array | float) -> Array:
        return (1 - beta) * self.base_gradient + beta * self.joint_gradient


@struct.dataclass
class Path:
    """The two densities between which chains move."""

    base: LogDensity = struct.field(pytree_node=False)
    joint: LogDensity = struct.field(pytree_node=False)

    def at(self, z: Array) -> Place:
        base, base_gradient = _with_gradient(self.base, z)
        joint, joint_gradient = _with_gradient(self.joint, z)
        return Place(z, base, joint, base_gradient, joint_gradient)


def log_joint(model: BoundModel, batch: Batch) -> LogDensity:
    """log p(x, z|c) as a function of codes [C, B, Z]."""
    prior = model.prior(batch)

    def density(z: Array) -> Array:
        log_prior = jnp.broadcast_to(prior.log_prob(z), z.shape[:-1])
        return model.decode(z, batch).log_prob(batch["x"]) + log_prior

    return density


def posterior_path(model: BoundModel, batch: Batch) -> Path:
    """Of which beta = 1 is the posterior p(z|x, c) of each example; its base is flat."""
    return Path(lambda z: jnp.zeros(z.shape[:-1]), log_joint(model, batch))


def _with_gradient(density: LogDensity, z: Array) -> tuple[Array, Array]:
    value, pull = jax.vjp(density, z)
    return value, pull(jnp.ones_like(value))[0]


def transition(
    path: Path,
    place: Place,
    beta: Array | float,
    step_size: Array,
    keys: Array,
    leapfrog_steps: int,
) -> tuple[Place, Array]:
    """One proposal for each chain, taken or not, which leaves the target as it is (Neal 2011).

    `step_size` [B], the largest, and `keys` [B], one key an example and transition. Returns the
    chains and the probability with which each moved, [C, B].
    """
    chains, _, size = place.z.shape
    # Between half of it and all: paths of one length come back to where they began in a density
    # that has it for a period (Neal 2011, Sec. 5.4.2.2).
    share = 0.5 + 0.5 * draw_each(jax.random.uniform, _of(keys, LENGTHS), chains)  # [C, B]
    each = (step_size[None] * share)[..., None]

    def leap(carry: tuple[Place, Array], _: None) -> tuple[tuple[Place, Array], None]:
        there, momentum = carry
        momentum = momentum + 0.5 * each * there.gradient(beta)
        there = path.at(there.z + each * momentum)
        return (there, momentum + 0.5 * each * there.gradient(beta)), None

    def energy(at: Place, momentum: Array) -> Array:
        return 0.5 * jnp.square(momentum).sum(axis=-1) - at.log_density(beta)

    momentum = draw_each(lambda key: jax.random.normal(key, (size,)), _of(keys, MOMENTA), chains)
    (there, ended), _ = jax.lax.scan(leap, (place, momentum), None, length=leapfrog_steps)
    gained = energy(place, momentum) - energy(there, ended)
    # A path that left the numbers is one that nobody accepts.
    accepted = jnp.where(jnp.isnan(gained), 0.0, jnp.exp(jnp.minimum(gained, 0.0)))
    moves = draw_each(jax.random.uniform, _of(keys, CHOICES), chains) < accepted
    chosen = jax.tree.map(
        lambda new, old: jnp.where(moves.reshape(moves.shape + (1,) * (new.ndim - 2)), new, old),
        there,
        place,
    )
    return chosen, accepted


def adapted(
    log_step_size: Array,
    accepted: Array,
    index: Array | float,
    target: Array | float = TARGET_ACCEPTANCE,
) -> Array:
    """Log step sizes [B] after chains [C, B] moved with such probabilities at transition `index`.

    Towards the acceptance `target`, by less and less (Robbins & Monro 1951): what follows a steep
    acceptance closely never rests.
    """
    gain = 2.0 * jax.lax.rsqrt(index + 4.0)
    return log_step_size + gain * (accepted.mean(axis=0) - target)


def keys_at(keys: Array, index: Array | int) -> Array:
    """One key an example for the transition of that number."""
    return _of(keys, index)


def _of(keys: Array, number: Any) -> Array:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
