"""Optimisers by name, from optax, each with the same learning-rate schedules and wrappings.

An optimiser is a frozen dataclass of numbers; `build` turns it into an optax transformation. The
numbers may be traced: runs that differ in a step size share one compiled program.
"""

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.fields import changed
from ae_jax.core.ranges import Count, NonNegative, Positive
from ae_jax.core.registry import Registry
from ae_jax.train.optimiser_wrappers import accumulated, averaged, reduced_on_plateau
from ae_jax.train.seal import name_of

Fraction = Annotated[float, Field(ge=0, lt=1)]
ShareOfRun = Annotated[float, Field(ge=0, le=1)]


@struct.dataclass
class Optimiser:
    """What all share.

    learning_rate   the step size, at its largest
    schedule        its course after the warm-up: `constant`, `linear`, `cosine`, `exponential`,
                    `tripling`: steps down by 10^(1/7), each kept three times as long as the one
                    before (Burda et al. 2016, Sec. 5), or `plateau`: times `plateau_factor` where
                    the training loss no longer falls
    warmup          share of the run over which it grows linearly from 0
    final_fraction  what a decaying schedule ends at, as a share of `learning_rate`
    clip_norm       gradients are scaled down to this global norm; none by default
    accumulate      an update takes the gradients of so many batches as of one, in its memory; the
                    last of an epoch takes what is left. Schedules count updates; what depends on a
                    whole batch (batch statistics) sees each by itself. By default 1
    ema             decay of a running average of the parameters an update; evaluation, codes,
                    samples and reports are then of the average, and training goes on from the
                    parameters themselves. None by default
    plateau_factor  of `plateau`: what the rate is multiplied by, never below `final_fraction` ...
    plateau_patience   ... after so many epochs whose mean loss, as training saw it, ...
    plateau_tolerance  ... is not below the best by this share of it
    """

    learning_rate: Positive = 1e-3
    warmup: ShareOfRun = 0.0
    final_fraction: Annotated[float, Field(gt=0, le=1)] = 0.01
    clip_norm: Positive | None = None
    schedule: Literal["constant", "linear", "cosine", "exponential", "tripling", "plateau"] = (
        struct.field(pytree_node=False, default="constant")
    )
    accumulate: Count | None = None
    ema: Fraction | None = None
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    plateau_patience: Count = 5
    plateau_tolerance: Fraction = 1e-4

    def build(
        self, total_steps: Array | float, steps_per_epoch: Array | int | None = None
    ) -> optax.GradientTransformation:
        """The transformation for a run of so many steps; by default they are one epoch."""
        steps: Array | float = total_steps if steps_per_epoch is None else steps_per_epoch
        per_epoch = self.updates_in(steps)
        updates = total_steps if self.accumulate is None else total_steps / steps * per_epoch
        parts = [self.rule(lambda count: self.rate(count, updates))]
        if self.clip_norm is not None:
            parts.insert(0, optax.clip_by_global_norm(self.clip_norm))
        if self.schedule == "plateau":
            parts.append(
                reduced_on_plateau(
                    self.plateau_factor,
                    self.plateau_patience,
                    self.plateau_tolerance,
                    self.final_fraction,
                    per_epoch,
                )
            )
        result = parts[0] if len(parts) == 1 else optax.chain(*parts)
        if self.ema is not None:
            result = averaged(result, self.ema)
        if self.accumulate is not None:
            result = accumulated(result, self.accumulate, steps)
        return result

    def updates_in(self, steps: Array | float) -> Array | float:
        """How many updates an epoch of so many steps has."""
        return steps if self.accumulate is None else -(-steps // self.accumulate)

    def check(self, where: str, names: Sequence[str], steps_per_epoch: int) -> None:
        """Raises UserError for an option that cannot apply.

        `where` is its section, `names` are those of the parameters that it trains.
        """
        del names
        if self.ema is not None and jnp.float32(self.ema) == 1:
            raise UserError(f"{where}.ema is {self.ema}, which float32 takes for 1")
        if self.accumulate is not None and self.accumulate > steps_per_epoch:
            raise UserError(
                f"{where}.accumulate is {self.accumulate}, more than the {steps_per_epoch} batches "
                "of an epoch"
            )

    def check_idle(self, where: str, updates: int) -> None:
        """Raises UserError for an option that changes nothing, or leaves nothing to change.

        A run is asked when it begins, with the number of its updates.
        """
        del updates
        if self.schedule == "constant" and "final_fraction" in changed(self):
            raise UserError(
                f"{where}.final_fraction is what a rate ends at, and {where}.schedule is constant"
            )
        for option in ("plateau_factor", "plateau_patience", "plateau_tolerance"):
            if self.schedule != "plateau" and option in changed(self):
                raise UserError(
                    f"{where}.{option} is for {where}.schedule=plateau, which is {self.schedule}"
                )

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
    "plateau": lambda share, final: jnp.ones_like(share),  # the losses decide
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

    def check_idle(self, where, updates):
        super().check_idle(where, updates)
        if self.burn_in >= updates:
            raise UserError(
                f"{where}.burn_in={self.burn_in} is no less than the updates of the run, "
                f"{updates}: nothing would be trained"
            )

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
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    weight_decay_of      `all` parameters, or `matrices` only: what has two axes or more, and so
                         neither biases nor scales
    weight_decay_except  those that do not decay either: patterns of their names, as in
                         ["*.bias", "decoder.*"]
    """

    weight_decay: NonNegative = 1e-2
    weight_decay_of: Literal["all", "matrices"] = struct.field(pytree_node=False, default="all")
    weight_decay_except: tuple[str, ...] = struct.field(pytree_node=False, default=())

    def rule(self, rate):
        is_plain = self.weight_decay_of == "all" and not self.weight_decay_except
        return optax.adamw(
            rate,
            b1=self.b1,
            b2=self.b2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            mask=None if is_plain else self.decays,
        )

    def decays(self, params: Any) -> Any:
        """Which parameters decay, a tree of truth values."""

        def decays(path: Any, leaf: Any) -> bool:
            is_in = self.weight_decay_of == "all" or leaf.ndim > 1
            return is_in and not _matches(name_of(path), self.weight_decay_except)

        return jax.tree_util.tree_map_with_path(decays, params)

    def check(self, where, names, steps_per_epoch):
        super().check(where, names, steps_per_epoch)
        for pattern in self.weight_decay_except:
            if not any(_matches(name, [pattern]) for name in names):
                raise UserError(
                    f"{where}.weight_decay_except: no parameter is named like {pattern!r}; there "
                    f"are {', '.join(names)}"
                )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


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
