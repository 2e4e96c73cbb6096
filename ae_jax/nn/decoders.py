"""Decoders: codes [N, Z] -> features that a head turns into parameters of p(x|z).

Features end in the layout of the data without its last axis of channels or pixels: [N, F] for
vectors, [N, H, W, F] for images, so that every head is one dense map of the last axis.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
from jax import Array

from ae_jax.nn.convolutions import DoublingConv


class MLPDecoder(nn.Module):
    """One dense layer and activation for each size in `hidden`; features are [N, hidden[-1]]."""

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    shape: tuple[int, ...]
    for_images: ClassVar[bool] = False

    @nn.compact
    def __call__(self, z: Array) -> Array:
        h = z
        for i, size in enumerate(self.hidden):
            h = self.activation(nn.Dense(size, name=f"dense_{i}")(h))
        return h


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: a dense map to a small image, then transposed convolutions.

    Each layer doubles height and width; what exceeds the image (28 is not a multiple of 8) is
    cropped symmetrically after the last one. Features are [N, H, W, hidden[-1]].
    """

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    shape: tuple[int, ...]
    for_images: ClassVar[bool] = True

    @nn.compact
    def __call__(self, z: Array) -> Array:
        height, width, _ = self.shape
        factor = 2 ** len(self.hidden)
        rows, columns = math.ceil(height / factor), math.ceil(width / factor)
        seed = nn.Dense(rows * columns * self.hidden[0], name="dense")(z)
        h = self.activation(seed).reshape(z.shape[0], rows, columns, self.hidden[0])
        for i, channels in enumerate(self.hidden):
            h = self.activation(DoublingConv(channels, name=f"conv_{i}")(h))
        top, left = (rows * factor - height) // 2, (columns * factor - width) // 2
        return h[:, top : top + height, left : left + width, :]
