"""Decoders: codes [N, Z] -> features that a head turns into parameters of p(x|z).

Features end in the layout of the data without its last axis of channels or pixels: [N, F] for
vectors, [N, H, W, F] for images, so that every head is one dense map of the last axis.

A decoder that declares `can_pad` gives the same where its codes have further dimensions at the
end that are 0, and its own kernels further rows of zeros at theirs.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.nn.convolutions import DoublingConv
from ae_jax.nn.encoders import Rate, finished


class MLPDecoder(nn.Module):
    """One dense layer and activation for each size in `hidden`; features are [N, hidden[-1]].

    `batch_norm` and `dropout` as of `MLPEncoder`. A condition is put before the code.
    """

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    shape: tuple[int, ...]
    batch_norm: bool = False
    dropout: Rate = 0.0
    for_images: ClassVar[bool] = False
    can_pad: ClassVar[bool] = True

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None) -> Array:
        h = with_condition(z, condition)
        for i, size in enumerate(self.hidden):
            h = finished(self, nn.Dense(size, name=f"dense_{i}")(h), i)
        return h


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: a dense map to a small image, then transposed convolutions.

    Each layer doubles height and width; what exceeds the image (28 is not a multiple of 8) is
    cropped symmetrically after the last one. Features are [N, H, W, hidden[-1]]. `batch_norm` and
    `dropout` are of the convolutions. A condition is put before the code.
    """

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    shape: tuple[int, ...]
    batch_norm: bool = False
    dropout: Rate = 0.0
    for_images: ClassVar[bool] = True
    can_pad: ClassVar[bool] = True

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None) -> Array:
        z = with_condition(z, condition)
        height, width, _ = self.shape
        factor = 2 ** len(self.hidden)
        rows, columns = math.ceil(height / factor), math.ceil(width / factor)
        seed = nn.Dense(rows * columns * self.hidden[0], name="dense")(z)
        h = self.activation(seed).reshape(z.shape[0], rows, columns, self.hidden[0])
        for i, channels in enumerate(self.hidden):
            h = finished(self, DoublingConv(channels, name=f"conv_{i}")(h), i)
        top, left = (rows * factor - height) // 2, (columns * factor - width) // 2
        return h[:, top : top + height, left : left + width, :]


class SoftmaxDecoder(nn.Module):
    """Shares that add up to 1, as of topics in a text: softmax of the code, [N, Z].

    There is no network: the head maps the shares. `dropout` drops shares while training, without
    making the others add up to 1. A condition is put before the shares.
    """

    dropout: Rate = 0.0
    for_images: ClassVar[bool] = False

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None) -> Array:
        shares = nn.softmax(z, axis=-1)
        if self.dropout:
            shares = nn.Dropout(self.dropout, name="dropout")(shares)
        return with_condition(shares, condition)


def with_condition(z: Array, condition: Array | None) -> Array:
    """Codes [N, Z] with the condition before them: what pads a code comes at its end."""
    if condition is None:
        return z
    return jnp.concatenate([condition.reshape(z.shape[0], -1), z], axis=-1)
