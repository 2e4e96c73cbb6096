"""How well the decoder gives back what the encoder saw."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from ae_jax.eval.base import EvaluationData
from ae_jax.objectives import Batch


def squared_error(model: Any, params: Any, data: EvaluationData, key: Array) -> dict[str, float]:
    """Squared error of the mean reconstruction from the mean code, an example and a dimension."""
    return data.mean(_squared_errors, model, params, key)


def _squared_errors(model: Any, params: Any, batch: Batch, key: Array) -> dict[str, Array]:
    del key
    x = batch["x"]
    error = jnp.square(model.apply({"params": params}, x).mean() - x)
    per_example = error.sum(axis=tuple(range(1, x.ndim)))
    return {
        "squared_error_per_example": per_example,
        "squared_error_per_dimension": per_example / math.prod(x.shape[1:]),
    }
