"""What every distribution offers, of codes and of data alike.

A distribution is a pytree. Its parameters have shape [..., B, event...]: B examples, before them
any samples of the code (a likelihood given K codes an example is [K, B, ...]), behind them the
dimensions of one value, the last `event_ndims` axes. Parameters that all examples share may lack
the leading axes. Densities are nats, summed over the event: [..., B].

Values are drawn with one key an example, `keys` [B]. Sample k of an example depends on nothing but
its key and k, counted from `first`: the draws are the same on one device and on many, and many
samples can be drawn in parts.

Where runs with codes of different sizes share one program, the dimensions beyond a run's own are
there and switched off: `active` [Z] says which count. What is switched off is 0 in every sample
and mean and adds nothing to any density or divergence.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Support:
    """The values that have a density: those between two bounds, whole numbers only if so said.

    What depends on more than one value at a time (one-hot vectors, points of a simplex, counts
    with a known total) is a subclass with a `contains` of its own.
    """

    description: str
    low: float
    high: float
    integer: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether its values lie between two finite bounds."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def contains(self, values: Array) -> Array:
        """Which values lie in it, bool of the same shape. NaN does not."""
        inside = (values >= self.low) & (values <= self.high)
        return inside & (values == jnp.round(values)) if self.integer else inside


UNIT_INTERVAL = Support("[0, 1]", 0.0, 1.0)
REAL_LINE = Support("the real numbers", -math.inf, math.inf)
BINARY = Support("{0, 1}", 0.0, 1.0, integer=True)
COUNTS = Support("whole numbers from 0 on", 0.0, math.inf, integer=True)


@struct.dataclass
class Distribution:
    """Base of all distributions. A subclass defines `log_prob`, `mean` and `sample`.

    `support` says what values have a density. `is_deterministic` is true of what has no density
    to be compared with another's. Through samples that are whole numbers no gradient flows, unless
    a class says so by `is_reparameterised = True` (straight-through estimators).
    """

    support: ClassVar[Support] = REAL_LINE
    is_deterministic: ClassVar[bool] = False

    def log_prob(self, value: Array) -> Array:
        """[..., B, event...] -> [..., B], nats."""
        raise NotImplementedError(f"{type(self).__name__} does not define log_prob")

    def mean(self) -> Array:
        """[..., B, event...]."""
        raise NotImplementedError(f"{type(self).__name__} does not define mean")

    def known_from(self, value: Array) -> Self:
        """The same with what `value` [B, event...] says beforehand: of counts, their total."""
        del value
        return self

    def stddev(self) -> Array:
        """Standard deviations of each dimension, [..., B, event...], where they are known.

        Raises UserError where they are not: samples have them.
        """
        raise UserError(f"{type(self).__name__} has no standard deviation in closed form")

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Samples first, first + 1, ... of each example: [num_samples, ..., B, event...]."""
        raise NotImplementedError(f"{type(self).__name__} does not define sample")

    def sample_and_log_prob(
        self, keys: Array, num_samples: int, first: Array | int = 0
    ) -> tuple[Array, Array]:
        """Samples and their log densities; where the two share work, a subclass shares it."""
        value = self.sample(keys, num_samples, first)
        return value, self.log_prob(value)

    def restricted(self, active: Array) -> "Distribution":
        """The same with the dimensions that are not `active`, bool [Z], switched off."""
        raise UserError(f"{type(self).__name__} has no dimensions that can be switched off")


def draw_each(
    draw: Callable[[Array], Array], keys: Array, num_samples: int, first: Array | int = 0
) -> Array:
    """`draw(key)` for each example's key and each sample: [num_samples, B, ...].

    The key of a sample is that of its example with the sample's number folded in.
    """

    def one(key: Array, index: Array) -> Array:
        return draw(jax.random.fold_in(key, index))

    indices = first + jnp.arange(num_samples)
    return jax.vmap(jax.vmap(one, (0, None)), (None, 0))(keys, indices)


def noise_for(
    draw: Callable[[Array, tuple[int, ...]], Array],
    keys: Array,
    num_samples: int,
    first: Array | int,
    shape: Sequence[int],
    event_ndims: int,
) -> Array:
    """Noise for parameters of shape [..., B, event...]: [num_samples, ..., B, event...].

    `draw(key, shape)` is elementary noise, such as `jax.random.normal`.
    """
    split = len(shape) - event_ndims
    leading, event = tuple(shape[: max(split - 1, 0)]), tuple(shape[split:])
    noise = draw_each(lambda key: draw(key, (*leading, *event)), keys, num_samples, first)
    return jnp.moveaxis(noise, 1, 1 + len(leading))  # [K, B, leading, event] as drawn


def flat_events(event_ndims: int, *arrays: Array) -> list[Array]:
    """Broadcast against each other, the data dimensions as one: [..., B, D]."""
    # A loop over [28, 28, 1] is short in its innermost dimension and does not vectorise; the same
    # pixels in a row do.
    whole = jnp.broadcast_arrays(*arrays)
    return [a.reshape(*a.shape[: a.ndim - event_ndims], -1) for a in whole]


def only(active: Array | None, values: Array) -> Array:
    """Values [..., Z], 0 where a dimension is switched off."""
    return values if active is None else jnp.where(active, values, 0.0)


def known_from(distribution: Any, value: Array) -> Any:
    """A distribution with what a value of it says beforehand, if it is one that can be told."""
    known = getattr(distribution, "known_from", None)
    return distribution if known is None else known(value)


METHODS = {
    "log_prob": "log_prob(value) -> nats [..., B]",
    "mean": "mean() -> [..., B, event...]",
    "sample": "sample(keys, num_samples, first=0) -> [num_samples, ..., B, event...]",
    "support": "support, an `ae_jax.distributions.Support`",
    "is_deterministic": "is_deterministic, False for what has a density",
}


def check_distribution(value: Any, whose: str) -> None:
    """Raises UserError, naming what is missing, for what is no distribution."""
    for name, form in METHODS.items():
        if not hasattr(value, name):
            made = "an array" if isinstance(value, jax.Array) else f"a {type(value).__name__}"
            raise UserError(
                f"{whose} gives {made}, which has no {name}: a distribution "
                f"offers {form} (derive from ae_jax.distributions.Distribution)"
            )
