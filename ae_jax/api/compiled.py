"""The programs of a fitted model, compiled once an architecture and size of batch.

Each takes the variables of the model, `rows` with one example or code each (`x` or `z`) and what
the model is conditioned on (`y` or `condition`), the ids of the rows, [B], and the statistics that
preprocessing needs.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.eval.scores import Score
from ae_jax.models import Batch, BoundModel
from ae_jax.numerics.noise import example_keys
from ae_jax.numerics.precision import float32_products


def _batch(rows: dict[str, Array], ids: Array) -> Batch:
    return {**rows, "id": ids, "mask": jnp.ones(ids.shape)}


@partial(jax.jit, static_argnames="architecture")
def inputs(variables: Any, rows: Batch, ids: Array, statistics: Any, *, architecture) -> Array:
    """Raw examples in model units, [B, ...]."""
    del variables
    return architecture.preprocess(rows["x"], statistics, jax.random.key(0), ids)


def model_inputs(raw: Array, ids: Array, statistics: Any, architecture: Any) -> Array:
    """What the encoder sees."""
    x = architecture.preprocess(raw, statistics, jax.random.key(0), ids)
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
    x = architecture.preprocess(rows["x"], statistics, jax.random.key(0), ids)
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
