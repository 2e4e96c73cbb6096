"""Users' own files of arrays: `.npy` and `.npz`."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError, shortened
from ae_jax.data.arrays import UNREADABLE, examples_of, labels_of, with_axis
from ae_jax.data.base import Split
from ae_jax.data.protocols import Stored, hold_out

_PARTS = ("train", "valid", "test")
_ALIASES = {"val": "valid", "validation": "valid"}


@dataclasses.dataclass(frozen=True)
class ArrayFile:
    """A user's `.npy`, or `.npz` with `x` (and `y`), or with `x_train`, `x_test` (and `x_valid`,
    `y_train`, ...). Used where it lies; nothing is cached."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def sources(self) -> tuple[str, ...]:
        return (str(self.path),)

    def cached_at(self) -> Path:
        """The file itself. Raises UserError where there is none."""
        if not os.path.isfile(self.path):
            raise UserError(f"data set {self.path}: there is no such file")
        return self.path

    def stored(self, log) -> Stored:
        """The checked arrays of the file. Raises UserError."""
        path = self.cached_at()
        arrays = _read(path)
        origin = f"data set {path}"
        if "x" in arrays:
            examples = examples_of(arrays["x"], origin)
            labels, classes = None, None
            if "y" in arrays:
                labels, classes = labels_of(arrays["y"], len(examples.values), origin)
            return hold_out(examples.values, labels, examples.max_value, str(path), classes)
        if "x_train" in arrays and "x_test" in arrays:
            return explicit_splits(arrays, origin)
        found = shortened(", ".join(sorted(arrays)), 300) or "nothing"
        raise UserError(
            f"{origin} needs the key x, or x_train and x_test (optionally x_valid and "
            f"labels y...), but holds {found}"
        )

    peek = stored


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by the names that a data set uses; a .npy counts as `x`."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"x": content}
            names = names_of_keys(content.files, path)
            arrays: dict[str, Any] = {
                name or key: content[key] if name else None for key, name in names.items()
            }
            for key, array in arrays.items():
                if not isinstance(array, np.ndarray | None):
                    raise ValueError(f"{key} is no array")
            return arrays
    except UNREADABLE as error:
        if "allow_pickle" in str(error):
            reason = "it holds Python objects, or is no NumPy file; nothing is unpickled"
        else:
            reason = "it is damaged, cut short or no NumPy file"
        raise UserError(f"data set {path} cannot be read: {reason}") from error


def names_of_keys(keys: list[str], path: Path) -> dict[str, str | None]:
    """What each key of an archive is to a data set, None where it is nothing.

    Raises UserError for examples or labels that would not be read, and for two of one kind.
    """
    names = {key: _name(key) for key in keys}
    unread = [key for key, name in names.items() if name is None and key[:2] in ("x_", "y_")]
    if unread and set(names.values()) & {"x", "x_train"}:
        raise UserError(
            f"data set {path}: the key {shortened(unread[0])} is not read: there are x and y, or "
            "x_ and y_ with train, valid and test"
        )
    used = [name for name in names.values() if name]
    twice = {name for name in used if used.count(name) > 1}
    if twice or ("x" in used and "x_train" in used):
        both = ", ".join(sorted(key for key in keys if names[key] in twice or key[:1] == "x"))
        raise UserError(f"data set {path} says twice what its examples are: {shortened(both)}")
    return names


def _name(key: str) -> str | None:
    kind, _, part = key.partition("_")
    part = _ALIASES.get(part, part)
    if kind not in ("x", "y"):
        return None
    return key if not part and key == kind else f"{kind}_{part}" if part in _PARTS else None


def explicit_splits(arrays: Mapping[str, np.ndarray], origin: str) -> Stored:
    """Splits as the user cut them, brought to one type together."""
    parts = [part for part in _PARTS if f"x_{part}" in arrays]
    xs = [with_axis(arrays[f"x_{part}"], f"{origin}: x_{part}") for part in parts]
    if len({x.shape[1:] for x in xs}) > 1:
        shapes = ", ".join(f"{part} {x.shape[1:]}" for part, x in zip(parts, xs, strict=True))
        raise UserError(f"{origin}: examples differ in shape between splits: {shapes}")
    _check_types(dict(zip(parts, xs, strict=True)), origin)
    counts = dict(zip(parts, map(len, xs), strict=True))
    labelled = [part for part in parts if f"y_{part}" in arrays]
    if labelled and len(labelled) < len(parts):
        raise UserError(f"{origin} has labels for some splits but not for all")
    examples = examples_of(np.concatenate(xs), origin)
    labels, classes = None, None
    if labelled:
        ys = [arrays[f"y_{part}"] for part in parts]
        for part, y in zip(parts, ys, strict=True):
            labels_of(y, counts[part], f"{origin} ({part})")
        labels, classes = labels_of(np.concatenate(ys), len(examples.values), origin)
    everything, cut = examples.values, len(examples.values) - counts["test"]
    return Stored(
        train=Split(everything, labels).head(cut),
        test=Split(everything[cut:], None if labels is None else labels[cut:]),
        valid_count=counts.get("valid", 0),
        max_value=examples.max_value,
        classes=classes,
    )


def _check_types(xs: Mapping[str, np.ndarray], origin: str) -> None:
    """Raises UserError where one part holds bytes and another fractions or other numbers."""
    kinds = {part: _kind(x) for part, x in xs.items()}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"x_{part} {xs[part].dtype}" for part in kinds)
        raise UserError(f"{origin}: its parts are of different types, bring them to one: {said}")


def _kind(x: np.ndarray) -> str:
    """Bytes, other integers or floats: one value means the same in all of a kind."""
    if x.dtype.kind == "f":
        return "real"
    return "bytes" if x.dtype in (np.uint8, bool) else "integers"
