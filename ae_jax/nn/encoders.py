"""Encoders: data [B, ...] -> features [B, F]."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.nn.convolutions import HalvingConv


class MLPEncoder(nn.Module):
    """Flattens its input and applies one dense layer and activation for each size in `hidden`."""

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    for_images: ClassVar[bool] = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x.reshape(x.shape[0], -1)  # [B, D]
        for i, size in enumerate(self.hidden):
            h = self.activation(nn.Dense(size, name=f"dense_{i}")(h))
        return h  # [B, hidden[-1]]


class ConvEncoder(nn.Module):
    """3x3 convolutions of stride 2 with `hidden` channels, halving height and width each time."""

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    for_images: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x  # [B, H, W, C]
        for i, channels in enumerate(self.hidden):
            h = self.activation(HalvingConv(channels, name=f"conv_{i}")(h))
        return jnp.reshape(h, (h.shape[0], -1))  # [B, H' * W' * hidden[-1]]
