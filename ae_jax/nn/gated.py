"""Dense layers whose units are gated: each has a second, logistic map that says how much passes.

    h_{i+1} = activation(W h_i + b) * sigmoid(V h_i + c)     (Dauphin et al. 2017, Eq. 1)

With `activation=linear` it is the layer of the networks of Tomczak & Welling 2018.
"""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
from jax import Array

from ae_jax.nn.decoders import with_condition
from ae_jax.nn.encoders import flat


class GatedEncoder(nn.Module):
    """Flattens its input, then a gated layer for each size in `hidden`; features [B, hidden[-1]].

    A condition is put behind the data.
    """

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    for_images: ClassVar[bool] = False

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        return gated(self.hidden, self.activation, flat(x, condition))


class GatedDecoder(nn.Module):
    """A gated layer for each size in `hidden`; features [N, hidden[-1]].

    A condition is put before the code.
    """

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    shape: tuple[int, ...]
    for_images: ClassVar[bool] = False

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None) -> Array:
        return gated(self.hidden, self.activation, with_condition(z, condition))


def gated(hidden: tuple[int, ...], activation: Callable[[Array], Array], h: Array) -> Array:
    """The layers, within a compact module: `dense_i` are their maps, `gate_i` their gates."""
    for i, size in enumerate(hidden):
        passes = jax.nn.sigmoid(nn.Dense(size, name=f"gate_{i}")(h))
        h = activation(nn.Dense(size, name=f"dense_{i}")(h)) * passes
    return h
