"""Values example by example of a trained model, for what experiments compare on the same images."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ae_jax.api import Fitted
from ae_jax.data.passes import ValuesOf
from ae_jax.eval.likelihood import standard_error
from ae_jax.numerics.noise import stream_key


def values_by_example(
    model: Fitted, split: str, values_of: ValuesOf, seed: int = 0
) -> dict[str, np.ndarray]:
    """`values_of(model, batch, key)` of every example in order, {name: [N, ...]}.

    The noise is that of the seed and the example, whatever the model: two models meet the same
    binarised images.
    """
    return of_set(
        model,
        split,
        lambda module, variables, data, key: data.rows(values_of, module, variables, key),
        seed,
    )


def of_set(model: Fitted, split: str, evaluate: Callable[..., Any], seed: int = 0) -> Any:
    """What `evaluate(module, variables, data, key)` says of a split."""
    key = stream_key(jnp.asarray(seed, jnp.uint32), "evaluation")
    module = model.setup.architecture.model
    return evaluate(module, model.variables, model.evaluation_data(split), key)


def with_error(values: Any, digits: int = 2) -> str:
    """The mean of values [N] and its standard error, as text."""
    return f"{np.mean(values, dtype=np.float64):.{digits}f} ± {standard_error(values):.{digits}f}"
