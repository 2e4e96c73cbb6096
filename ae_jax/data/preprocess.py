"""Preprocessing: pure functions from raw values to model inputs, applied inside the step.

The data set stays on the device as it was stored (8-bit images as uint8); each batch is turned
into float32 of the same shape on its way into the model.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.core.errors import present
from ae_jax.core.registry import Registry
from ae_jax.data.base import Split
from ae_jax.numerics.noise import example_keys

FIXED_NOISE_SEED = 20140501
_FAINT = 1000.0  # one in so many is where logarithms of shares take over


@struct.dataclass
class Statistics:
    """Of the raw training split: the largest value allowed, and mean and scale by dimension.

    `rest` is what float32 cannot hold of the mean: at 1e7 that is up to a half.
    """

    max_value: float | None
    mean: Array | np.ndarray | None = None
    scale: Array | np.ndarray | None = None
    rest: Array | np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """A map of raw examples [B, ...] with `Statistics` and one key an example, [B].

    noise        `none`, `fresh` (drawn anew at each visit) or `fixed` (drawn once an example)
    needs        the field of `Statistics` it uses, if any
    by_example   a value follows from all of its example, which has to be complete then
    of_shares    an example is divided by its sum: values below 0 have no share
    inverse      from model values [N, ...] float64 and `Statistics` to raw ones, and from the raw
                 examples that they are reconstructions of, where there are any; None: they are raw
    """

    function: Callable[[Array, Statistics, Array | None], Array]
    noise: Literal["none", "fresh", "fixed"] = "none"
    needs: Literal["max_value", "mean"] | None = None
    by_example: bool = False
    of_shares: bool = False
    inverse: Callable[[np.ndarray, Statistics, np.ndarray | None], np.ndarray] | None = None

    def restored(
        self, values: np.ndarray, statistics: Statistics, raw: np.ndarray | None = None
    ) -> np.ndarray:
        """Model values [N, ...] in the units of the data, float64, on the host."""
        values = np.asarray(values, np.float64)
        return values if self.inverse is None else self.inverse(values, statistics, raw)

    def __call__(self, raw: Array, statistics: Statistics, key: Array, ids: Array) -> Array:
        """Model inputs [B, ...] float32; `key` is the noise of this step, `ids` [B]."""
        if self.noise == "none":
            keys = None
        else:
            common = jax.random.key(FIXED_NOISE_SEED) if self.noise == "fixed" else key
            keys = example_keys(common, ids)
        return self.function(raw.astype(jnp.float32), statistics, keys)


Function = Callable[[Array, Statistics, Array | None], Array]


def _by_value(function: Function) -> Function:
    """For a function of single values: applied to the values of an example in a row.

    Pixels in one dimension make long loops that vectorise; in images they are short ones.
    """

    @wraps(function)
    def applied(x: Array, statistics: Statistics, keys: Array | None) -> Array:
        flat = Statistics(
            statistics.max_value,
            *(
                None if part is None else part.reshape(-1)
                for part in (statistics.mean, statistics.scale, statistics.rest)
            ),
        )
        return function(x.reshape(x.shape[0], -1), flat, keys).reshape(x.shape)

    return applied


def identity(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """Values as they are."""
    return x


@_by_value
def grey(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """Divided by the largest value allowed: grey levels in [0, 1]."""
    return x / present(statistics.max_value, "max_value")


def unit_sum(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """Each example divided by its sum, as images of jets are by their total transverse momentum.

    Examples of zeros stay as they are.
    """
    total = x.sum(axis=tuple(range(1, x.ndim)), keepdims=True)
    return x / jnp.where(total == 0, 1.0, total)


def unit_sum_sqrt(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """Square roots of `unit_sum`: faint pixels count for more, and each example has length 1."""
    return jnp.sqrt(unit_sum(x, statistics, keys))


def unit_sum_log(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """log(1 + 1000 u) of u from `unit_sum`: shares above a thousandth count by their logarithms."""
    return jnp.log1p(_FAINT * unit_sum(x, statistics, keys))


@_by_value
def threshold(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """1 above half of the largest value, else 0. Flatters a Bernoulli bound: say so if used."""
    return (grey(x, statistics, keys) > 0.5).astype(jnp.float32)


@_by_value
def binarization(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """Each pixel is 1 with its grey level as probability (Salakhutdinov & Murray 2008)."""
    return (_uniform(x, keys) < grey(x, statistics, keys)).astype(jnp.float32)


@_by_value
def dequantization(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """(value + uniform noise) / (max + 1): values of a density on (0, 1).

    In float32 the largest value and noise next to 1 would round to 1, and no value and no noise are
    0: a density that is 0 at the ends, as that of a Beta, has no logarithm there.
    """
    largest = present(statistics.max_value, "max_value") + 1.0
    within = jnp.finfo(jnp.float32).epsneg
    return jnp.clip((x + _uniform(x, keys)) / largest, within / largest, 1.0 - within)


@_by_value
def standardization(x: Array, statistics: Statistics, keys: Array | None) -> Array:
    """Each dimension less its training mean, over its training standard deviation."""
    mean, scale, rest = _moments(statistics)
    return ((x - mean[None]) - rest[None]) / scale[None]


def _uniform(x: Array, keys: Array | None) -> Array:
    return jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(present(keys, "keys"))


def _moments(statistics: Statistics) -> tuple[Any, Any, Any]:
    """Mean, scale and rest, which preprocessing that needs the mean is given."""
    return tuple(present(getattr(statistics, name), name) for name in ("mean", "scale", "rest"))


def _scaled_up(x: np.ndarray, statistics: Statistics, raw: np.ndarray | None) -> np.ndarray:
    """Of probabilities of a pixel too: the mean grey level that they stand for."""
    return x * present(statistics.max_value, "max_value")


def _quantised(x: np.ndarray, statistics: Statistics, raw: np.ndarray | None) -> np.ndarray:
    return x * (present(statistics.max_value, "max_value") + 1.0) - 0.5


def _unstandardised(x: np.ndarray, statistics: Statistics, raw: np.ndarray | None) -> np.ndarray:
    coarse, scale, rest = _moments(statistics)
    mean = coarse.astype(np.float64) + rest
    return x * scale[None] + mean[None]


def _with_sum_of(x: np.ndarray, statistics: Statistics, raw: np.ndarray | None) -> np.ndarray:
    """Shares of each example's own sum; what is of no example stays a share."""
    if raw is None:
        return x
    held = np.asanyarray(raw)  # also of examples that lie in files
    return x * held.sum(axis=tuple(range(1, held.ndim)), keepdims=True, dtype=np.float64)


def _squared(x: np.ndarray, statistics: Statistics, raw: np.ndarray | None) -> np.ndarray:
    return _with_sum_of(x * x, statistics, raw)


def _exponentiated(x: np.ndarray, statistics: Statistics, raw: np.ndarray | None) -> np.ndarray:
    return _with_sum_of((math.e**x - 1.0) / _FAINT, statistics, raw)


_of_shares = partial(Preprocess, by_example=True, of_shares=True)

PREPROCESSING = Registry[Preprocess](
    "preprocessing",
    {
        "dequantization": Preprocess(
            dequantization, noise="fresh", needs="max_value", inverse=_quantised
        ),
        "dynamic_binarization": Preprocess(
            binarization, noise="fresh", needs="max_value", inverse=_scaled_up
        ),
        "fixed_binarization": Preprocess(
            binarization, noise="fixed", needs="max_value", inverse=_scaled_up
        ),
        "grey": Preprocess(grey, needs="max_value", inverse=_scaled_up),
        "identity": Preprocess(identity),
        "standardization": Preprocess(standardization, needs="mean", inverse=_unstandardised),
        "threshold": Preprocess(threshold, needs="max_value", inverse=_scaled_up),
        "unit_sum": _of_shares(unit_sum, inverse=_with_sum_of),
        "unit_sum_log": _of_shares(unit_sum_log, inverse=_exponentiated),
        "unit_sum_sqrt": _of_shares(unit_sum_sqrt, inverse=_squared),
    },
)


def statistics_for(preprocess: Preprocess, train: Split, max_value: float | None) -> Statistics:
    """What the preprocessing needs to know of the raw training split."""
    if preprocess.needs != "mean":
        return Statistics(max_value)
    mean, scale = _mean_and_scale(train.x)
    # Dimensions that never vary (the border of digits) are centred and left unscaled, and so are
    # those that vary by less than float32 has numbers for.
    scale = np.where(scale > np.finfo(np.float32).tiny, scale, 1.0)
    coarse = mean.astype(np.float32)
    rest = (mean - coarse).astype(np.float32)
    return Statistics(max_value, coarse, scale.astype(np.float32), rest)


def _mean_and_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each dimension in float64, over what is not missing."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and np.isnan(x).any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a dimension that nobody observed
            mean = np.nanmean(x, axis=0, dtype=np.float64)
            deviation = np.nanstd(x, axis=0, dtype=np.float64)
        return np.asarray(np.nan_to_num(mean)), np.asarray(np.nan_to_num(deviation))
    whole: Any = x  # what has as much of NumPy's interface, on disk or sparse
    return whole.mean(axis=0, dtype=np.float64), whole.std(axis=0, dtype=np.float64)
