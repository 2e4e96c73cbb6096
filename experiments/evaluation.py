"""Values example by example of a trained model, for what experiments compare on the same images."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ae_jax.api import Fitted
from ae_jax.core.files import write_atomically
from ae_jax.data.passes import ValuesOf
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Estimate
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


def kept(file: Path, made: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays that take minutes, from their file, or made and kept there, whole or not at all."""
    if not file.is_file():
        content = io.BytesIO()
        np.savez(content, **made())
        write_atomically(file, content.getvalue())
    with np.load(file, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


class Gain(NamedTuple):
    """By how much values are above others of the same examples.

    mean, error   of the difference, in its unit, and the standard error over examples
    higher        percentage of the examples on which they are
    """

    mean: float
    error: float
    higher: float


def gain(values: np.ndarray, others: np.ndarray) -> Gain:
    """Of values [N] over others [N] of the same examples."""
    above = np.asarray(values, np.float64) - others
    return Gain(float(above.mean()), standard_error(above), float(100 * (above > 0).mean()))


def paired(values: np.ndarray, others: np.ndarray) -> Estimate:
    """The mean of values [N] less that of others of the same N examples, for claims."""
    found = gain(values, others)
    return Estimate(found.mean, found.error, (), len(values))


def ratio(ours: np.ndarray, others: np.ndarray) -> Estimate:
    """The mean of errors [N] over that of others of the same N; its error to first order."""
    value = float(np.mean(ours, dtype=np.float64) / np.mean(others, dtype=np.float64))
    error = standard_error(ours - value * others) / float(np.mean(others, dtype=np.float64))
    return Estimate(value, error, (), len(ours))


def with_error(values: Any, digits: int = 2) -> str:
    """The mean of values [N] and its standard error, as text."""
    return f"{np.mean(values, dtype=np.float64):.{digits}f} ± {standard_error(values):.{digits}f}"
