"""Encoders: data [B, ...], and a condition where there is one, -> features [B, F]."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from pydantic import Field

from ae_jax.nn.convolutions import HalvingConv

Rate = Annotated[float, Field(ge=0, lt=1)]


class MLPEncoder(nn.Module):
    """Flattens its input and applies one dense layer and activation for each size in `hidden`.

    batch_norm      normalises each layer over the batch, before its activation
    dropout         share of the units that is dropped while training
    dropout_after   the layers that this is done to: `each`, or only the `last`

    A condition is put behind the data.
    """

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    batch_norm: bool = False
    dropout: Rate = 0.0
    dropout_after: Literal["each", "last"] = "each"
    for_images: ClassVar[bool] = False

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        h = flat(x, condition)
        for i, size in enumerate(self.hidden):
            drops = self.dropout_after == "each" or i == len(self.hidden) - 1
            h = finished(self, nn.Dense(size, name=f"dense_{i}")(h), i, drops)
        return h  # [B, hidden[-1]]


class ConvEncoder(nn.Module):
    """3x3 convolutions of stride 2 with `hidden` channels, halving height and width each time.

    `batch_norm` and `dropout` as of `MLPEncoder`. A condition is further channels: an image as it
    is, a vector the same in every place.
    """

    hidden: tuple[int, ...]
    activation: Callable[[Array], Array]
    batch_norm: bool = False
    dropout: Rate = 0.0
    for_images: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        h = x  # [B, H, W, C]
        if condition is not None:
            if condition.ndim == 2:
                condition = jnp.broadcast_to(
                    condition[:, None, None, :], (*x.shape[:3], condition.shape[-1])
                )
            h = jnp.concatenate([h, condition], axis=-1)
        for i, channels in enumerate(self.hidden):
            h = finished(self, HalvingConv(channels, name=f"conv_{i}")(h), i)
        return jnp.reshape(h, (h.shape[0], -1))  # [B, H' * W' * hidden[-1]]


def flat(x: Array, condition: Array | None = None) -> Array:
    """Data [B, ...] as vectors, a condition behind them: [B, D]."""
    h = x.reshape(x.shape[0], -1)
    if condition is None:
        return h
    return jnp.concatenate([h, condition.reshape(x.shape[0], -1)], axis=-1)


def finished(part: nn.Module, h: Array, index: int, drops: bool = True) -> Array:
    """What follows the linear map of a layer: normalisation, activation, and dropout if it
    `drops`."""
    if part.batch_norm:
        h = nn.BatchNorm(name=f"norm_{index}")(h)
    h = part.activation(h)
    return nn.Dropout(part.dropout, name=f"dropout_{index}")(h) if part.dropout and drops else h
