"""Codes of different sizes in one program: padded to the largest, the rest switched off."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass(frozen=True)
class FirstCodes:
    """A model of which the first `size` dimensions of the code are in use; `size` may be traced.

    Stands in for the model in objectives. With parameters from `padded`, outputs, gradients and
    updates are those of the smaller model: a dimension that is switched off is 0 in every code,
    so nothing flows back through its weights, which start at 0 and stay there.
    """

    model: Any
    size: Array

    def apply(self, variables: dict, *args: Any, method: str, **options: Any) -> Any:
        """As the model's; a posterior comes back restricted."""
        result = self.model.apply(variables, *args, method=method, **options)
        return result.restricted(self._active) if method == "encode" else result

    @property
    def prior(self) -> Any:
        return self.model.prior.restricted(self._active)

    @property
    def _active(self) -> Array:
        return jnp.arange(self.model.prior.dim) < self.size


def padded(tree: Any, like: Any) -> Any:
    """The leaves with zeros at the end of each axis, up to the shapes of the tree `like`."""

    def pad(leaf: Array, goal: Any) -> Array:
        missing = [big - small for small, big in zip(leaf.shape, goal.shape, strict=True)]
        return jnp.pad(leaf, [(0, count) for count in missing]) if any(missing) else leaf

    return jax.tree.map(pad, tree, like)


def cropped(tree: Any, like: Any) -> Any:
    """What `padded` was given: each leaf cut back to the shape of its place in `like`."""
    return jax.tree.map(lambda leaf, goal: leaf[tuple(map(slice, goal.shape))], tree, like)
