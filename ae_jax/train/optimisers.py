"""Optimisers by name, from optax, each with the same learning-rate schedules.

An optimiser is a frozen dataclass of numbers; `build` turns it into an optax transformation. The
numbers may be traced: runs that differ in a step size share one compiled program.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal

import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from pydantic import Field

from ae_jax.core.ranges import NonNegative, Positive
from ae_jax.core.registry import Registry

Fraction = Annotated[float, Field(ge=0, lt=1)]
ShareOfRun = Annotated[float, Field(ge=0, le=1)]


@struct.dataclass
class Optimiser:
    """What all share.

    learning_rate   the step size, at its largest
    schedule        its course after the warm-up: `constant`, `linear`, `cosine`, `exponential`, or
                    `tripling`: steps down by 10^(1/7), each kept three times as long as the one
                    before (Burda et al. 2016, Sec. 5)
    warmup          share of the run over which it grows linearly from 0
    final_fraction  what a decaying schedule ends at, as a share of `learning_rate`
    clip_norm       gradients are scaled down to this global norm; none by default
    """

    learning_rate: Positive = 1e-3
    warmup: ShareOfRun = 0.0
    final_fraction: Annotated[float, Field(gt=0, le=1)] = 0.01
    clip_norm: Positive | None = None
    schedule: Literal["constant", "linear", "cosine", "exponential", "tripling"] = struct.field(
        pytree_node=False, default="constant"
    )

    def build(self, total_steps: Array | float) -> optax.GradientTransformation:
        """The transformation for a run of so many steps."""
        rule = self.rule(lambda count: self.rate(count, total_steps))
        if self.clip_norm is None:
            return rule
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), rule)

    def rate(self, step: Array, total_steps: Array | float) -> Array:
        """The learning rate of a step, counted from 0."""
        progress = step / jnp.maximum(total_steps, 1.0)
        rising = jnp.where(self.warmup > 0, progress / jnp.maximum(self.warmup, 1e-9), 1.0)
        share = (progress - self.warmup) / jnp.maximum(1.0 - self.warmup, 1e-9)
        shape = _SHAPES[self.schedule](jnp.clip(share, 0.0, 1.0), self.final_fraction)
        return self.learning_rate * jnp.minimum(rising, 1.0) * shape

    def rule(self, rate: Callable[[Array], Array]) -> optax.GradientTransformation:
        """The update rule under a schedule of learning rates."""
        raise NotImplementedError(f"{type(self).__name__} does not define rule")


def _tripling(share: Array, final: Array | float) -> Array:
    """Stages i = 0, 1, ... of lengths 3^i at 10^(-i/7), the last of them at `final` or above it."""
    last = jnp.floor(-7 * jnp.log10(final) + 1e-3)
    begun = 1 + share * (3.0 ** (last + 1) - 1)  # 3^i where stage i begins
    stage = jnp.floor(jnp.log(begun) / math.log(3) + 1e-6)
    return 10.0 ** (-jnp.minimum(stage, last) / 7)


_SHAPES: dict[str, Callable[[Array, Array | float], Array]] = {
    "constant": lambda share, final: jnp.ones_like(share),
    "linear": lambda share, final: 1 - (1 - final) * share,
    "cosine": lambda share, final: final + (1 - final) * 0.5 * (1 + jnp.cos(math.pi * share)),
    "exponential": lambda share, final: final**share,
    "tripling": _tripling,
}


@struct.dataclass
class Sgd(Optimiser):
    """Plain stochastic gradient descent."""

    def rule(self, rate):
        return optax.sgd(rate)


@struct.dataclass
class Momentum(Optimiser):
    """Gradient descent with heavy-ball or Nesterov momentum."""

    momentum: Fraction = 0.9
    nesterov: bool = struct.field(pytree_node=False, default=False)

    def rule(self, rate):
        return optax.sgd(rate, momentum=self.momentum, nesterov=self.nesterov)


@struct.dataclass
class RmsProp(Optimiser):
    """Steps divided by a running root mean square of the gradients (Tieleman & Hinton 2012)."""

    decay: Fraction = 0.9
    eps: Positive = 1e-8

    def rule(self, rate):
        return optax.rmsprop(rate, decay=self.decay, eps=self.eps)


@struct.dataclass
class Adagrad(Optimiser):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al. 2011).

    initial_accumulator   what the sums start at
    burn_in               so many first steps only add to the sums; without it the very first step
                          moves every parameter by the whole learning rate
    """

    learning_rate: Positive = 0.01
    initial_accumulator: NonNegative = 0.0
    burn_in: Annotated[int, Field(ge=0)] = 0
    eps: Positive = 1e-8

    def rule(self, rate):
        def resting_first(count):
            return jnp.where(count < self.burn_in, 0.0, rate(count))

        return optax.adagrad(resting_first, self.initial_accumulator, self.eps)


@struct.dataclass
class Adam(Optimiser):
    """Kingma & Ba 2015."""

    b1: Fraction = 0.9
    b2: Fraction = 0.999
    eps: Positive = 1e-8

    def rule(self, rate):
        return optax.adam(rate, b1=self.b1, b2=self.b2, eps=self.eps)


@struct.dataclass
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    weight_decay: NonNegative = 1e-2

    def rule(self, rate):
        return optax.adamw(
            rate, b1=self.b1, b2=self.b2, eps=self.eps, weight_decay=self.weight_decay
        )


OPTIMISERS = Registry[type[Optimiser]](
    "optimiser",
    {
        "adagrad": Adagrad,
        "adam": Adam,
        "adamw": AdamW,
        "momentum": Momentum,
        "rmsprop": RmsProp,
        "sgd": Sgd,
    },
    base=Optimiser,
)
