"""Codes of different sizes in one program: padded to the largest, the rest switched off.

With parameters from `padded`, outputs, gradients and updates are those of the smaller model: a
dimension that is switched off is 0 in every code, so nothing flows back through its weights, which
start at 0 and stay there. That holds of models that declare `can_pad`, and of no other.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def in_use(total: int, size: Array) -> Array:
    """Which of `total` dimensions are among the first `size`, bool [total]; size may be traced."""
    return jnp.arange(total) < size


def padded(tree: Any, like: Any) -> Any:
    """The leaves with zeros at the end of each axis, up to the shapes of the tree `like`."""

    def pad(leaf: Array, goal: Any) -> Array:
        missing = [big - small for small, big in zip(leaf.shape, goal.shape, strict=True)]
        return jnp.pad(leaf, [(0, count) for count in missing]) if any(missing) else leaf

    return jax.tree.map(pad, tree, like)


def cropped(tree: Any, like: Any) -> Any:
    """What `padded` was given: each leaf cut back to the shape of its place in `like`."""
    return jax.tree.map(lambda leaf, goal: leaf[tuple(map(slice, goal.shape))], tree, like)
