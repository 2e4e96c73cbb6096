"""Networks that an objective has of its own: critics and classifiers."""

from typing import Any

import flax.linen as nn
import jax
from jax import Array

from ae_jax.core.ranges import Count
from ae_jax.nn.forward import Forward, passing
from ae_jax.objectives.base import Batch

Sizes = tuple[Count, ...]


class Mlp(nn.Module):
    """Dense layers of the sizes `hidden` with leaky rectified units, and a linear one: [B, ...] ->
    [B, outputs]."""

    hidden: Sizes
    outputs: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x.reshape(x.shape[0], -1)
        for i, size in enumerate(self.hidden):
            h = jax.nn.leaky_relu(nn.Dense(size, name=f"dense_{i}")(h), 0.2)
        return nn.Dense(self.outputs, name="output")(h)


def code_size(module: Any, key: Array, batch: Batch) -> int:
    """How many dimensions the code of a model has; nothing is computed."""

    def code(key: Array) -> Array:
        with passing(Forward()):
            posterior, _ = module.init_with_output(key, batch, method="encode")
        return posterior.mean()

    return jax.eval_shape(code, key).shape[-1]
