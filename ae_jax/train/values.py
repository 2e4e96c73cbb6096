"""What the values of a data set are to a run: their preprocessing, range and likelihood."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.data.base import DataSet, Split
from ae_jax.data.batches import DeviceSplit, sequential_order, take_batch
from ae_jax.data.preprocess import PREPROCESSING, Preprocess, Statistics
from ae_jax.train.config import AnyConfig, RunConfig

CHECK_BATCH = 1000


def settled_preprocess(config: AnyConfig, dataset: DataSet) -> str:
    """The name of the preprocessing, with `auto` settled. Raises UserError."""
    name = config.data.preprocess
    if name == "auto":
        return "identity" if dataset.max_value is None else "grey"
    if PREPROCESSING.get(name).needs == "max_value" and dataset.max_value is None:
        raise UserError(
            f"data.preprocess={name} needs values with a known largest one, and {dataset.name} "
            "holds real numbers; use identity or standardization"
        )
    return name


def extreme_examples(dataset: DataSet) -> dict[str, DeviceSplit]:
    """In place of splits too large to look through: the first examples, and those of extremes.

    The bounds that follow are those of all examples where preprocessing is monotone in each value.
    """
    extremes = {}
    for name, split in dataset.splits.items():
        bounds = [
            np.full(dataset.shape, value, split.x.dtype) for value in (split.x.min(), split.x.max())
        ]
        head = np.asarray(split.x[: min(len(split), CHECK_BATCH)])
        extremes[name] = DeviceSplit.put(Split(np.concatenate([bounds, head]), first_id=0))
    return extremes


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """Smallest and largest model input over all splits, whether all are whole numbers, and the
    first split with NaN in it."""

    low: float
    high: float
    missing_in: str | None
    integer: bool = False

    def check_missing(self, dataset: DataSet, accepts_missing: bool) -> None:
        """Raises UserError for NaN, which is a missing value where the objective takes them."""
        if self.missing_in is not None and not accepts_missing:
            raise _not_finite(self.missing_in, dataset)


def value_range(
    dataset: DataSet,
    splits: Mapping[str, DeviceSplit],
    preprocess: Preprocess,
    statistics: Statistics,
) -> ValueRange:
    """The range of model inputs. Raises UserError for infinite ones."""
    lows, highs, missing_in, integer = [], [], None, True
    for name, split in splits.items():
        low, high, missing, infinite, whole = _extremes(split, statistics, preprocess=preprocess)
        integer = integer and bool(whole)
        if infinite:
            raise _not_finite(name, dataset)
        if missing and missing_in is None:
            missing_in = name
        lows.append(float(low))
        highs.append(float(high))
    return ValueRange(min(lows), max(highs), missing_in, integer)


def _not_finite(name: str, dataset: DataSet) -> UserError:
    return UserError(
        f"the {name} split of {dataset.name} holds NaN or infinite values; NaN is a missing value "
        "to objective=masked_reconstruction only"
    )


def input_range(
    dataset: DataSet, preprocess: Preprocess, statistics: Statistics, low: float, high: float
) -> ValueRange:
    """The range of model inputs from raw values between two bounds, as in `extreme_examples`."""
    raw = np.stack([np.full(dataset.shape, value, np.float32) for value in (low, high)])
    x = preprocess(jnp.asarray(raw), statistics, jax.random.key(0), jnp.arange(2))
    return ValueRange(float(x.min()), float(x.max()), None)


@partial(jax.jit, static_argnames="preprocess")
def _extremes(
    split: DeviceSplit, statistics: Statistics, *, preprocess: Preprocess
) -> tuple[Array, Array, Array, Array, Array]:
    """Smallest and largest known value; whether any is NaN, any infinite, all whole numbers."""

    def body(_, row):
        x = take_batch(split, row, preprocess, statistics, jax.random.key(0))["x"]
        # Compiled minima do not reliably come out NaN where a value is.
        missing = jnp.isnan(x)
        low, high = jnp.where(missing, jnp.inf, x).min(), jnp.where(missing, -jnp.inf, x).max()
        whole = jnp.where(missing, True, x == jnp.round(x)).all()
        return None, (low, high, missing.any(), jnp.isinf(x).any(), whole)

    _, (low, high, missing, infinite, whole) = jax.lax.scan(
        body, None, sequential_order(len(split), CHECK_BATCH)
    )
    return low.min(), high.max(), missing.any(), infinite.any(), whole.all()


def check_support(config: RunConfig, head: Any, dataset: DataSet, values: ValueRange) -> None:
    """Raises UserError for model inputs that the likelihood of the built head gives no density."""
    support = head.support
    if support.integer and not values.integer:
        raise UserError(
            f"head {config.model.head!r} needs {support.description}, but {dataset.name} holds "
            f"other values after preprocessing {config.data.preprocess!r}; choose another "
            "model.head or data.preprocess"
        )
    if not np.all(support.contains(np.array([values.low, values.high], np.float32))):
        raise UserError(
            f"head {config.model.head!r} needs data in {support.description}, but {dataset.name} "
            f"has values from {values.low:g} to {values.high:g} after preprocessing "
            f"{config.data.preprocess!r}; choose another model.head or data.preprocess"
        )
