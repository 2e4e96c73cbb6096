"""3x3 convolutions of stride 2 and their transposes as matrix products.

The same functions of the same parameters (`kernel` [3, 3, C, features], `bias`) as Linen's `Conv`
and `ConvTranspose` with strides (2, 2) and padding SAME. On a CPU, XLA takes several to forty times
as long for the gradients of those; windows of stride 2 hold 9/4 of the pixels, so that gathering
them costs little memory anywhere.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen import initializers
from jax import Array


class _Convolution(nn.Module):
    """A function of images and a kernel, with its parameters."""

    features: int

    def apply_kernel(self, x: Array, kernel: Array) -> Array:
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", initializers.lecun_normal(), shape)
        bias = self.param("bias", initializers.zeros_init(), (self.features,))
        return self.apply_kernel(x, kernel) + bias[None, None, None]


class HalvingConv(_Convolution):
    """A 3x3 convolution of stride 2: [N, H, W, C] -> [N, ceil(H/2), ceil(W/2), features]."""

    def apply_kernel(self, x: Array, kernel: Array) -> Array:
        return halved(x, kernel)


class DoublingConv(_Convolution):
    """A transposed 3x3 convolution of stride 2: [N, H, W, C] -> [N, 2H, 2W, features]."""

    def apply_kernel(self, x: Array, kernel: Array) -> Array:
        return doubled(x, kernel)


def halved(x: Array, kernel: Array) -> Array:
    """Convolution [N, H, W, C] with a kernel [3, 3, C, F]: [N, ceil(H/2), ceil(W/2), F]."""
    _, height, width, channels = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    # Padding SAME puts what is left of an uneven border below and to the right.
    down, right = 2 * rows + 1 - height, 2 * columns + 1 - width
    padded = jnp.pad(
        x, ((0, 0), (down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
    )
    seen = [
        padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
        for i in range(3)
        for j in range(3)
    ]
    return _product(seen, kernel.reshape(9 * channels, -1))


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
        return _product(seen, jnp.concatenate(weights, axis=0))

    rows = [jnp.stack([phase(i, 0), phase(i, 1)], axis=3) for i in (0, 1)]  # [N, H, W, 2, F]
    return jnp.stack(rows, axis=2).reshape(count, 2 * height, 2 * width, -1)


def _product(seen: list[Array], weights: Array) -> Array:
    """Images side by side in channels times weights, as one product of two matrices.

    That is faster than one over four axes.
    """
    windows = jnp.concatenate(seen, axis=-1)  # [N, H, W, taps * C]
    product = windows.reshape(-1, windows.shape[-1]) @ weights
    return product.reshape(*windows.shape[:-1], -1)
