"""What the values of a data set are to a run: their preprocessing, range and likelihood."""

import dataclasses
from collections.abc import Callable, Mapping
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


def check_shares(preprocess: Preprocess, dataset: DataSet) -> None:
    """Raises UserError for values below 0 where an example is divided by its sum."""
    for name, split in dataset.splits.items() if preprocess.of_shares else ():
        low = np.nanmin(split.x) if isinstance(split.x, np.ndarray) else split.x.min()
        if low < 0:
            raise UserError(
                "the preprocessing of the data takes shares of an example's sum, and the "
                f"{name} split has values down to {low:g}: there are no shares of what is below 0"
            )


def extreme_examples(dataset: DataSet) -> dict[str, DeviceSplit]:
    """In place of splits too large to look through on a device: the first examples, and those that
    tell the most (`telling_rows`)."""
    extremes = {}
    for name, split in dataset.splits.items():
        head = np.asarray(split.x[: min(len(split), CHECK_BATCH)])
        rows = np.concatenate([telling_rows(split.x, dataset.shape), head])
        extremes[name] = DeviceSplit.put(Split(rows, first_id=0))
    return extremes


def telling_rows(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Of examples [N, *shape], in memory or not, the few by which all are judged, [R, *shape].

    Two whose values are all the smallest and all the largest, by which follows the range of model
    inputs where preprocessing is monotone in each value; and of real numbers the examples
    that hold these, the first with a fraction, and the first that lacks a value.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        low, high = x.min(), x.max()  # what is on disk as records knows them
        return np.stack([np.full(shape, value, x.dtype) for value in (low, high)])
    low, high = (np.inf, 0), (-np.inf, 0)
    firsts: dict[str, int] = {}
    flat = x.reshape(len(x), -1)
    for start in range(0, len(x), CHECK_BATCH):
        part = np.asarray(flat[start : start + CHECK_BATCH])
        known = ~np.isnan(part)
        lows = np.where(known, part, np.inf).min(axis=1)
        highs = np.where(known, part, -np.inf).max(axis=1)
        low = min(low, (float(lows.min()), start + int(lows.argmin())))
        highest = float(highs.max()), start + int(highs.argmax())
        high = high if high[0] >= highest[0] else highest
        cut = known & (part != np.round(part))
        for name, found in (("fraction", cut.any(axis=1)), ("gap", ~known.all(axis=1))):
            if name not in firsts and found.any():
                firsts[name] = start + int(found.argmax())
    bounds = [
        np.full(shape, value if np.isfinite(value) else np.nan, x.dtype) for value, _ in (low, high)
    ]
    places = [low[1], high[1], *firsts.values()]
    return np.concatenate([bounds, np.asarray(x[places])])


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
            place = _place_of(dataset, self.missing_in, np.isnan)
            raise UserError(
                f"the {self.missing_in} split of {dataset.name} holds NaN{place}, which is a "
                "missing value to objective=masked_reconstruction only"
            )

    def check_complete(self, name: str, preprocess: Preprocess) -> None:
        """Raises UserError for missing values where a value follows from all of its example."""
        if self.missing_in is not None and preprocess.by_example:
            raise UserError(
                f"data.preprocess={name} needs all values of an example, and in the "
                f"{self.missing_in} split some are missing"
            )


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
            raise UserError(
                f"the {name} split of {dataset.name} holds infinite values"
                f"{_place_of(dataset, name, np.isinf)}"
            )
        if missing and missing_in is None:
            missing_in = name
        lows.append(float(low))
        highs.append(float(high))
    return ValueRange(min(lows), max(highs), missing_in, integer)


def _place_of(dataset: DataSet, split: str, is_bad: Callable[[np.ndarray], np.ndarray]) -> str:
    """Where the first such value of the raw examples is, of a table by its column; or nothing."""
    x, called = dataset.splits[split].x, dataset.splits[split].names
    for start in range(0, len(x), CHECK_BATCH):
        bad = np.argwhere(is_bad(np.asarray(x[start : start + CHECK_BATCH], np.float32)))
        if len(bad):
            row, *place = map(int, bad[0])
            names = dataset.facts.feature_names
            column = f", in the column {names[place[0]]!r}" if names and len(place) == 1 else ""
            given = ""
            if called is not None:  # a split is drawn from rows that are counted from 0
                name = called[start + row]
                given = f", row {name} of the data" if called.dtype.kind in "iu" else f", {name}"
            return f" (the first in its example {start + row}{column}{given})"
    return ""


def input_range(
    raw: np.ndarray, dataset: DataSet, preprocess: Preprocess, statistics: Statistics
) -> ValueRange:
    """The range of model inputs of new examples [N, ...], as in `extreme_examples`.

    Raises UserError for values of which preprocessing makes no numbers.
    """
    if preprocess.by_example and np.isnan(raw).any():
        raise UserError(
            "the preprocessing of the data needs all values of an example, and of what was given "
            "some are missing"
        )
    rows = telling_rows(raw, dataset.shape)
    x = preprocess(jnp.asarray(rows), statistics, jax.random.key(0), jnp.arange(len(rows)))
    inputs = np.asarray(x)
    known = inputs[~np.isnan(rows)]
    if np.isnan(known).any():
        raise UserError(
            "the preprocessing of the data makes no numbers of some values of what was given: "
            "they are out of its range"
        )
    whole = bool((known == np.round(known)).all())
    return ValueRange(float(known.min()), float(known.max()), None, whole)


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
