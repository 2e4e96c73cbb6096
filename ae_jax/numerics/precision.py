"""Precision of products and the generator of random bits, by the kind of device."""

from collections.abc import Hashable
from contextlib import AbstractContextManager

import jax

from ae_jax.numerics.threefry import THREEFRY

# What `train.precision` means for matrix products. The names on the right are JAX's: on a CPU,
# which has float32 products only, all of them are the same.
_PRECISIONS = {
    "cpu": {"float32": "float32", "tensorfloat32": "tensorfloat32", "bfloat16": "bfloat16"},
    "gpu": {
        "float32": "float32",
        "tensorfloat32": "TF32_TF32_F32",
        "bfloat16": "BF16_BF16_F32",
    },
    # One pass of a TPU's units is bfloat16, three are about TF32, six are float32.
    "tpu": {"float32": "float32", "tensorfloat32": "tensorfloat32", "bfloat16": "bfloat16"},
}


def product_precision(name: str) -> str:
    """JAX's name for matrix products of a `train.precision` on the devices at hand."""
    return _PRECISIONS.get(jax.default_backend(), _PRECISIONS["cpu"])[name]


def float32_products() -> AbstractContextManager:
    """Within it, matrix products are float32 on every device: for what is measured, not trained."""
    return jax.default_matmul_precision(product_precision("float32"))


def bit_generator() -> Hashable:
    """What `jax.random.key` takes for noise inside steps; the bits are the same on every device."""
    return THREEFRY if jax.default_backend() == "cpu" else "threefry2x32"
