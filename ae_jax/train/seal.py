"""What a checkpoint says of itself, so that damage and mix-ups are found when it is read.

A seal lies in the checkpoint's own metadata, and becomes visible with it in one step. It holds
the form and the digest of all values, what compares and describes the checkpoint, and its own
digest.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from ae_jax.core.files import finite_or_none

_TEXT, _DIGEST = "seal", "sha256"

# Name, shape and type of each leaf, as JSON has them.
Form = Sequence[tuple[str, Sequence[int], str]]


class BrokenSeal(Exception):
    """A seal that is not what was written. The message says how, in a few words."""


@dataclasses.dataclass(frozen=True)
class Seal:
    """values   sha256 over the bytes of all leaves, one after another
    form     name, shape and type of each leaf, in their order
    metrics  the headline, or None for a checkpoint that cannot be the best
    record   the last record of the run when it was saved, if there is one
    run      what run it is of, as plain data, if that is known
    part     of an epoch that is not over: what it has summed up so far, as plain data
    """

    values: str
    form: Form
    metrics: Mapping[str, float] | None = None
    record: Mapping[str, Any] | None = None
    run: Mapping[str, Any] | None = None
    part: Mapping[str, Any] | None = None

    def as_metadata(self) -> dict[str, str]:
        """Plain data for the metadata of the checkpoint: a text, and the digest of the text."""
        fields = dataclasses.asdict(self)
        if self.record is not None:
            fields["record"] = finite_or_none(self.record)
        text = json.dumps(fields)
        return {_TEXT: text, _DIGEST: hashlib.sha256(text.encode()).hexdigest()}


def read_seal(metadata: Any) -> Seal | None:
    """The seal in a checkpoint's metadata; None for a checkpoint older than seals.

    Raises BrokenSeal.
    """
    if not metadata:
        return None
    try:
        text = metadata[_TEXT]
        if hashlib.sha256(text.encode()).hexdigest() != metadata[_DIGEST]:
            raise BrokenSeal("its seal is damaged")
        fields = json.loads(text)
        known = {field.name for field in dataclasses.fields(Seal)}
        return Seal(**{name: value for name, value in fields.items() if name in known})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BrokenSeal("its seal is damaged") from error


def packed(tree: Any) -> tuple[np.ndarray, Form]:
    """The bytes of all leaves on the host, uint8 [N], and their form; a copy.

    One array is written at the cost of one, whatever the number of leaves. All processes must come
    here where leaves are spread over them.
    """
    arrays = [_on_host(leaf) for leaf in jax.tree.leaves(tree)]
    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    return np.concatenate([np.empty(0, np.uint8), *parts]), form_of(tree)


def unpacked(values: np.ndarray, like: Any) -> Any:
    """The tree again, with the types and the placement of `like`, whose form is that of `values`.

    Where `like` has shapes in place of arrays, leaves lie on the first device.

    Values are bytes, uint8 [N].
    """
    leaves, structure = jax.tree.flatten(like)
    placed, start = [], 0
    for leaf in leaves:
        end = start + math.prod(leaf.shape) * leaf.dtype.itemsize
        array = values[start:end].view(leaf.dtype).reshape(leaf.shape)
        placed.append(_placed(array, leaf.sharding))
        start = end
    return jax.tree.unflatten(structure, placed)


def digest_of(values: np.ndarray) -> str:
    """sha256 of bytes."""
    return hashlib.sha256(values.data).hexdigest()


def form_of(tree: Any) -> list[tuple[str, list[int], str]]:
    """Name, shape and type of each leaf."""
    return [
        (name_of(path), list(np.shape(leaf)), jnp.dtype(leaf.dtype).name)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def changes_of(saved: Form, expected: Form) -> list[str]:
    """In what two forms differ, a line a leaf: shapes, and types where shapes agree."""
    was = {name: (tuple(shape), dtype) for name, shape, dtype in saved}
    now = {name: (tuple(shape), dtype) for name, shape, dtype in expected}
    lines = []
    for name in sorted({*was, *now}):
        old, new = was.get(name), now.get(name)
        if old != new:
            same_shape = old and new and old[0] == new[0]
            a, b = ("absent" if one is None else one[1 if same_shape else 0] for one in (old, new))
            lines.append(f"{name}: {a} saved, {b} expected")
    return lines


def not_finite(tree: Any) -> str | None:
    """The name of the first leaf that holds NaN or infinity."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(_on_host(leaf)).all():
            return name_of(path)
    return None


def name_of(path: Any) -> str:
    """The path of a leaf, as `params.encoder.kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _on_host(leaf: Any) -> np.ndarray:
    """The values of a leaf in full, also where they are spread over processes."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def _placed(array: np.ndarray, sharding: Any) -> jax.Array:
    if sharding is None:
        return jnp.array(array, copy=True)
    # A copy of each part: the first step takes the memory of its state.
    return jax.make_array_from_callback(
        array.shape, sharding, lambda index: np.array(array[index], copy=True)
    )
