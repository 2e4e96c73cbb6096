"""What estimates of log p(x) share: what they can be asked of, and how they are summed up."""

import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Real

from ae_jax.core.errors import UserError
from ae_jax.distributions import REAL_LINE
from ae_jax.models import Batch, BoundModel


def codes_of(model: BoundModel, batch: Batch) -> tuple[Any, Any]:
    """Posterior and prior of a batch, with shapes in place of arrays."""
    return jax.eval_shape(lambda batch: (model.encode(batch), model.prior(batch)), batch)


def check_density(model: BoundModel, batch: Batch) -> None:
    """Raises UserError for codes without a density, or a prior that has none."""
    if any(each.is_deterministic for each in codes_of(model, batch)):
        raise UserError("log p(x) needs a model with a random code and a prior over it")


def check_gradients(model: BoundModel, batch: Batch, name: str) -> None:
    """Raises UserError for codes that Hamiltonian Monte Carlo cannot move."""
    check_density(model, batch)
    for each in codes_of(model, batch):
        if each.support != REAL_LINE:
            raise UserError(
                f"{name} moves codes along gradients and needs codes of real numbers, not "
                f"{each.support.description} ({type(each).__name__}): log_likelihood takes any"
            )


def standard_error(values: Real[np.ndarray, " N"]) -> float:
    """Of the mean of independent values [N]; 0 for a single one, of which nothing is known."""
    values = np.asarray(values, np.float64)
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def mean_and_error(name: str, values: Real[np.ndarray, " N"]) -> dict[str, float]:
    """{name, name_se}: the mean of a value an example, [N], and its standard error, which a single
    example has not."""
    mean = {name: float(np.asarray(values, np.float64).mean())}
    return mean if len(values) == 1 else mean | {f"{name}_se": standard_error(values)}
