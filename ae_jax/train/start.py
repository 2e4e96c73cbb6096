"""Parameters that a run is given to start from: what they are known by, and whether they fit."""

import dataclasses
import functools
import hashlib
from typing import Any

import jax
import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.models import ModelConfig

# Options that say what parameters are for, and that their shapes do not tell.
_MEANING = ("encoder", "activation", "latent", "decoder", "head")


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """A tree of parameters, known by its names, shapes, types and bytes."""

    params: Any

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over paths, shapes, types and bytes of all leaves."""
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            array = np.ascontiguousarray(leaf)
            digest.update(f"{_name(path)} {array.shape} {array.dtype.str}".encode())
            digest.update(array.data)
        return digest.hexdigest()


def check_start(params: Any, like: Any) -> None:
    """Raises UserError unless the tree has the names, shapes and types of `like`, and no NaN."""
    if not all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(params)):
        raise UserError("what a run starts from is a model, or the parameters of one")
    given, expected = _leaves(params), _leaves(like)
    changes = [
        f"{name}: {given.get(name, 'absent')} given, {expected.get(name, 'absent')} expected"
        for name in sorted({*given, *expected})
        if given.get(name) != expected.get(name)
    ]
    if changes:
        raise UserError(f"the parameters to start from are of another model: {'; '.join(changes)}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not np.isfinite(leaf).all():
            raise UserError(f"the parameters to start from are not finite: {_name(path)}")


def check_form(given: ModelConfig, ours: ModelConfig) -> None:
    """Raises UserError where parameters of the same shapes would mean something else."""
    changes = [
        f"model.{name} is {getattr(ours, name)}, and was {getattr(given, name)}"
        for name in _MEANING
        if getattr(given, name) != getattr(ours, name)
    ]
    if changes:
        raise UserError(f"the model to start from is of another form: {'; '.join(changes)}")


def _leaves(tree: Any) -> dict[str, str]:
    return {
        _name(path): f"{leaf.dtype} {tuple(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
