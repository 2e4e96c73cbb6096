"""Corruptions of the data that a denoising autoencoder learns to undo, by name.

A corruption is a pure function of one example and a key, so that the noise of an example is the
same on one device and on many. Data are in model units, grey levels in [0, 1] for images.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.registry import Registry


@dataclasses.dataclass(frozen=True)
class Corruption:
    """A map `(key, x [...], level) -> [...]` of one example; level 0 leaves it as it is.

    is_share   the level is the share of entries that are hit, and so no more than 1
    """

    function: Callable[[Array, Array, Array | float], Array]
    is_share: bool = False

    def __call__(self, keys: Array, x: Array, level: Array | float) -> Array:
        """Corrupted examples, [B, ...], of x [B, ...]; `keys` holds one key an example, [B]."""
        return jax.vmap(self.function, (0, 0, None))(keys, x, level)

    def check(self, level: float) -> None:
        """Raises UserError for a share above 1."""
        if self.is_share and level > 1:
            raise UserError(f"the level of this corruption is a share, at most 1, not {level:g}")


def gaussian(key: Array, x: Array, level: Array | float) -> Array:
    """x + level * N(0, I): additive noise, which may leave [0, 1]."""
    return x + level * jax.random.normal(key, x.shape, x.dtype)


def masking(key: Array, x: Array, level: Array | float) -> Array:
    """Each entry is set to 0 with probability `level` (Vincent et al. 2010, Sec. 3.3)."""
    return jnp.where(jax.random.uniform(key, x.shape) < level, 0.0, x)


def salt_and_pepper(key: Array, x: Array, level: Array | float) -> Array:
    """Each entry is set to 0 or 1, by a fair coin, with probability `level` (same section)."""
    hit_key, coin_key = jax.random.split(key)
    extreme = jax.random.bernoulli(coin_key, 0.5, x.shape).astype(x.dtype)
    return jnp.where(jax.random.uniform(hit_key, x.shape) < level, extreme, x)


CORRUPTIONS = Registry[Corruption](
    "corruption",
    {
        "gaussian": Corruption(gaussian),
        "masking": Corruption(masking, is_share=True),
        "salt_and_pepper": Corruption(salt_and_pepper, is_share=True),
    },
)
