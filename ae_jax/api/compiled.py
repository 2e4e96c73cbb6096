"""The programs of a fitted model, compiled once an architecture and size of batch.

Each takes the variables of the model, `rows` with one example or code each (`x` or `z`) and what
the model is conditioned on (`y` or `condition`), the ids of the rows, [B], and the statistics that
preprocessing needs. Ids from `UNNUMBERED` on are of rows that belong to no data set: noise of
their preprocessing is that of what they hold, and not of the place where they stand.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.eval.scores import Score
from ae_jax.models import Batch, BoundModel
from ae_jax.numerics.noise import example_keys
from ae_jax.numerics.precision import float32_products

UNNUMBERED = -(2**30)
_ODD = 0x9E3779B1  # about 2^32 over the golden ratio: its multiples are spread over 32 bits


def _batch(rows: dict[str, Array], ids: Array) -> Batch:
    places = jnp.where(ids < 0, ids - UNNUMBERED, ids)
    return {**rows, "id": places, "mask": jnp.ones(ids.shape)}


def _preprocessed(raw: Array, statistics: Any, ids: Array, architecture: Any) -> Array:
    ids = jnp.where(ids < 0, _content(raw), ids)
    return architecture.preprocess(raw, statistics, jax.random.key(0), ids)


def _content(raw: Array) -> Array:
    """A number of what each example [B, ...] holds, [B] int32: alike for equal examples."""
    # As numbers, whatever their type: an exported program takes bytes as float32 too.
    rows = raw.reshape(raw.shape[0], -1).astype(jnp.float32)
    # Of 0 there are two, of NaN many.
    rows = jnp.where(jnp.isnan(rows), jnp.nan, jnp.where(rows == 0, 0.0, rows))
    bits = jax.lax.bitcast_convert_type(rows, jnp.uint32)
    place = jnp.arange(rows.shape[1], dtype=jnp.uint32)[None]
    # The mixing of murmur hash 3: any bit of the value moves all bits of what is summed.
    mixed = bits + place * jnp.uint32(_ODD)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> shift)) * jnp.uint32(factor)
    mixed = mixed ^ (mixed >> 16)
    return jax.lax.bitcast_convert_type(mixed.sum(axis=1, dtype=jnp.uint32), jnp.int32)


@partial(jax.jit, static_argnames="architecture")
def inputs(variables: Any, rows: Batch, ids: Array, statistics: Any, *, architecture) -> Array:
    """Raw examples in model units, [B, ...]."""
    del variables
    return _preprocessed(rows["x"], statistics, ids, architecture)


def model_inputs(raw: Array, ids: Array, statistics: Any, architecture: Any) -> Array:
    """What the encoder sees."""
    x = _preprocessed(raw, statistics, ids, architecture)
    # NaN gets here only where it is a missing value: the encoder sees 0 for it, as in training.
    return jnp.where(jnp.isnan(x), 0.0, x)


@partial(jax.jit, static_argnames="architecture")
def posterior(variables: Any, rows: Batch, ids: Array, statistics: Any, *, architecture) -> Any:
    """q(z|x) of raw examples."""
    x = model_inputs(rows["x"], ids, statistics, architecture)
    model = BoundModel(architecture.model, variables)
    with float32_products():
        return model.encode(_batch({**rows, "x": x}, ids))


@partial(jax.jit, static_argnames="architecture")
def encode(variables: Any, rows: Batch, ids: Array, statistics: Any, *, architecture) -> Array:
    """Posterior means of raw examples, [B, Z]."""
    with float32_products():  # the mean may run a network of its own
        return posterior(variables, rows, ids, statistics, architecture=architecture).mean()


@partial(jax.jit, static_argnames="architecture")
def reconstruct(variables: Any, rows: Batch, ids: Array, statistics: Any, *, architecture) -> Array:
    """Decoded posterior means of raw examples, in model units, [B, ...]."""
    x = model_inputs(rows["x"], ids, statistics, architecture)
    model = BoundModel(architecture.model, variables)
    with float32_products():
        return model.reconstruct(_batch({**rows, "x": x}, ids)).mean()[0]


@partial(jax.jit, static_argnames=("architecture", "score"))
def score(
    variables: Any,
    rows: Batch,
    ids: Array,
    statistics: Any,
    *,
    architecture,
    score: Score,
    seed: Array,
) -> Array:
    """Anomaly scores of raw examples, [B]; NaN is left to the score."""
    x = _preprocessed(rows["x"], statistics, ids, architecture)
    model = BoundModel(architecture.model, variables)
    with float32_products():
        return score(model, _batch({**rows, "x": x}, ids), jax.random.key(seed))


@partial(jax.jit, static_argnames="architecture")
def decode(variables: Any, rows: Batch, ids: Array, statistics: Any, *, architecture) -> Array:
    """Means of p(x|z) for the codes `z` of rows, in model units, [B, ...]."""
    del statistics
    model = BoundModel(architecture.model, variables)
    with float32_products():
        return model.decode(rows["z"][None], _batch(rows, ids)).mean()[0]


@partial(jax.jit, static_argnames="architecture")
def drawn(
    variables: Any, rows: Batch, ids: Array, statistics: Any, *, architecture, seed: Array
) -> Array:
    """One code from the prior for each row, [B, Z]."""
    with float32_products():
        prior = BoundModel(architecture.model, variables).prior(_batch(rows, ids))
        return prior.sample(example_keys(jax.random.key(seed), ids), 1)[0]


def over_batches(
    function: Any,
    variables: Any,
    rows: dict[str, np.ndarray],
    first_id: int,
    statistics: Any,
    *,
    size: int,
    may_share: bool = False,
) -> Any:
    """A function of the above over rows in batches of one size, the last one filled up; NumPy.

    What it gives are rows, one an example. Where examples `may_share` some of it, rows are what
    there is more of for more examples.
    """
    count, outputs = len(next(iter(rows.values()))), []
    for start in range(0, max(count, 1), size):
        part = {name: _filled(row[start : start + size], size) for name, row in rows.items()}
        out = function(variables, part, first_id + start + jnp.arange(size), statistics)
        outputs.append(jax.tree.map(np.asarray, out))
    has_rows = jax.tree.map(lambda leaf: True, outputs[0])
    if may_share:
        one = {name: _filled(row[:1], 1) for name, row in rows.items()}
        alone = jax.eval_shape(function, variables, one, jnp.arange(1), statistics)
        has_rows = jax.tree.map(lambda leaf, own: leaf.shape != own.shape, outputs[0], alone)
    return jax.tree.map(
        lambda is_rows, *parts: np.concatenate(parts)[:count] if is_rows else parts[0],
        has_rows,
        *outputs,
    )


def _filled(part: np.ndarray, size: int) -> np.ndarray:
    filled = np.zeros((size, *part.shape[1:]), part.dtype.newbyteorder("="))
    filled[: len(part)] = part
    return filled
