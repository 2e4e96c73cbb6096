"""Transposed convolutions as matrix products, one for each phase of the pixels."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen import initializers
from jax import Array


class DoublingConv(nn.Module):
    """A transposed 3x3 convolution of stride 2: [N, H, W, C] -> [N, 2H, 2W, features].

    The same function of the same parameters (`kernel` [3, 3, C, features], `bias`) as Linen's
    `ConvTranspose` with strides (2, 2). XLA takes 20 to 40 times as long for the gradient of that
    on a CPU, and its zeros between the pixels are multiplied too.
    """

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        shape = (3, 3, channels, self.features)
        kernel = self.param("kernel", initializers.lecun_normal(), shape)
        bias = self.param("bias", initializers.zeros_init(), (self.features,))
        return doubled(x, kernel) + bias[None, None, None]


def doubled(x: Array, kernel: Array) -> Array:
    """Transposed convolution [N, H, W, C] with a kernel [3, 3, C, F]: [N, 2H, 2W, F].

    An odd row of the result sees one row of x through the middle of the kernel, an even row the
    one above it through the first row of the kernel and its own through the last; so do columns.
    """
    count, height, width, _ = x.shape
    above = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))  # zeros over the top and to the left
    taps = {0: ((0, -1), (2, 0)), 1: ((1, 0),)}  # by parity: place in the kernel, shift of x

    def phase(row_parity: int, column_parity: int) -> Array:
        pairs = [(r, c) for r in taps[row_parity] for c in taps[column_parity]]
        seen = [
            above[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
            for (_, down), (_, right) in pairs
        ]
        weights = [kernel[row, column] for (row, _), (column, _) in pairs]
        windows, weights = jnp.concatenate(seen, axis=-1), jnp.concatenate(weights, axis=0)
        # As one product of two matrices, which is faster than one over four axes.
        product = windows.reshape(-1, windows.shape[-1]) @ weights
        return product.reshape(count, height, width, -1)

    rows = [jnp.stack([phase(i, 0), phase(i, 1)], axis=3) for i in (0, 1)]  # [N, H, W, 2, F]
    return jnp.stack(rows, axis=2).reshape(count, 2 * height, 2 * width, -1)
