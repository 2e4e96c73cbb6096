"""How much arithmetic a step is: the matrix products and convolutions that it cannot do without."""

import math
from functools import partial
from typing import Any

import jax
from jax.extend import core

from ae_jax.objectives import Batch
from ae_jax.train.program import Architecture, Numbers
from ae_jax.train.setup import Setup
from ae_jax.train.step import StepReport, TrainState, make_step


def step_flops(setup: Setup) -> float:
    """Floating-point operations of the products in one training step, over the whole batch.

    Multiplications and additions count one each. Read off the traced step: gradients that nobody
    asks for, such as those of the data, are not in it.
    """
    traced = _step.trace(
        setup.state_shapes(), setup.batch_shapes(), setup.numbers, architecture=setup.architecture
    )
    return product_flops(traced.jaxpr.jaxpr)


# Compiled never: traces of a jitted function are kept, so that like runs are traced once.
@partial(jax.jit, static_argnames="architecture")
def _step(
    state: TrainState, batch: Batch, numbers: Numbers, *, architecture: Architecture
) -> tuple[TrainState, StepReport]:
    return make_step(architecture.model, numbers.objective, numbers.transformation())(state, batch)


def product_flops(jaxpr: Any) -> float:
    """Operations of the products in a jaxpr, those of its inner ones included.

    Of a choice between programs it is those of the one with the fewest.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        inner = [product_flops(one) for one in _inner(equation.params)]
        if name == "dot_general":
            total += _dot_flops(equation)
        elif name == "conv_general_dilated":
            total += _conv_flops(equation)
        if name == "cond":
            total += min(inner)
        else:
            total += (equation.params.get("length", 1) if name == "scan" else 1) * sum(inner)
    return total


def _dot_flops(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[d] for d in contracted)


def _conv_flops(equation: Any) -> float:
    kernel = equation.invars[1].aval.shape
    outputs = equation.params["dimension_numbers"].rhs_spec[0]
    products = math.prod(kernel) / kernel[outputs]
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * products


def _inner(params: dict[str, Any]) -> list[Any]:
    """The jaxprs among the parameters of an equation."""
    found = []
    for value in params.values():
        for part in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(part, core.ClosedJaxpr):
                found.append(part.jaxpr)
            elif isinstance(part, core.Jaxpr):
                found.append(part)
    return found
