"""What every source of data yields: named splits of plain arrays with a few facts about them."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from ae_jax.core.errors import UserError, warn

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples `x` [N, ...] and, where there are any, labels `y` [N] int32 and conditions [N, C] or
    [N, H, W, C] float32.

    Values are uint8 or float32; counts may be uint16. Ids count on from `first_id`: noise belongs
    to ids, so no two examples of a set share one. Left out, it is given by the data set that the
    split becomes part of.

    What people and metrics look at, and training never does, stays on the host: `factors` [N, F]
    are what examples were made from (`Facts.factor_names`), `names` [N] what they are called.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    first_id: int | None = None
    condition: np.ndarray | None = None
    factors: np.ndarray | None = None
    names: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def head(self, count: int) -> "Split":
        """The first `count` examples."""
        return dataclasses.replace(self.rows(slice(count)), first_id=self.first_id)

    def rows(self, rows: slice | np.ndarray) -> "Split":
        """Those examples, in that order, without ids."""
        return self._by_column(lambda column: column[rows])

    def after(self, before: "Split") -> "Split":
        """The examples of `before`, then these; what only one of the two has is left out: see
        `refuse_partly`."""
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            first, second = getattr(before, name), getattr(self, name)
            whole = first is not None and second is not None
            columns[name] = np.concatenate([first, second]) if whole else None
        return Split(**columns)

    def _by_column(self, function: Callable[[np.ndarray], np.ndarray]) -> "Split":
        held = {name: getattr(self, name) for name in COLUMNS}
        columns: dict[str, Any] = {k: None if v is None else function(v) for k, v in held.items()}
        return Split(**columns)


COLUMNS = ("x", "y", "condition", "factors", "names")
_SAID = {"y": "labels", "condition": "conditions"}
_SLIPS = {"val", "validation", "dev"}


def refuse_partly(splits: Mapping[str, Split], origin: str) -> None:
    """Raises UserError for labels or conditions of training examples that validation examples
    lack, or the other way round."""
    for column, said in _SAID.items():
        parts = [name for name in ("train", "valid") if name in splits]
        has = [name for name in parts if getattr(splits[name], column) is not None]
        if has and len(has) < len(parts):
            lacks = next(name for name in parts if name not in has)
            raise UserError(f"{origin} has {said} for {has[0]} and none for {lacks}")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the numbers of a data set mean, as far as their types do not tell.

    kind           "counts" are how often something was seen: never grey levels, whatever their
                   type. Other numbers are "values"
    feature_names  of vectors: one for each dimension (words, columns of a table)
    factor_names   one for each column of `Split.factors`
    origin         where these very numbers come from, and how they were made
    """

    kind: Literal["values", "counts"] = "values"
    feature_names: tuple[str, ...] | None = None
    factor_names: tuple[str, ...] | None = None
    origin: str = ""


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Splits `train`, `test` and possibly `valid`, which share the shape of one example.

    `max_value` is the largest raw value that the format allows (255 for 8-bit images, 16 for
    the 8x8 digits, 1 for binary pixels), or None for measurements without such a bound.
    Images have shape (H, W, C). `protocol` and `limit` say what was held out and left out;
    `classes` are the names of labels, `classes[y]`, where they have names; `facts` are the rest of
    what the numbers mean. `declared_classes` is how many labels there are where no example tells.
    """

    name: str
    splits: Mapping[str, Split]
    max_value: float | None = None
    protocol: str = "paper"
    limit: int | None = None
    classes: tuple[str, ...] | None = None
    facts: Facts = Facts()
    declared_classes: int | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.splits) - set(SPLITS))
        if unknown:
            said = f"data set {self.name}: splits are {', '.join(SPLITS)}"
            if set(unknown) & _SLIPS:
                raise UserError(f"{said}: call {unknown[0]!r} valid")
            warn(f"{said}; {', '.join(map(str, unknown))} is left out")
        numbered, next_id = {}, 0
        for name in SPLITS:
            if name in self.splits:
                split = self.splits[name]
                _check_factors(split, f"data set {self.name}, {name}")
                first_id = next_id if split.first_id is None else split.first_id
                numbered[name] = dataclasses.replace(split, first_id=first_id)
                next_id = first_id + len(split)
        object.__setattr__(self, "splits", numbered)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.splits["train"].x.shape[1:]

    @functools.cached_property
    def num_classes(self) -> int | None:
        """How many labels there are, which are 0, 1, ...; None without labels."""
        if self.declared_classes is not None:
            return self.declared_classes
        labels = [split.y for split in self.splits.values() if split.y is not None and len(split)]
        return int(max(y.max() for y in labels)) + 1 if labels else None

    @property
    def condition_shape(self) -> tuple[int, ...] | None:
        """The shape of one example's condition; None without."""
        condition = self.splits["train"].condition
        return None if condition is None else condition.shape[1:]

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def is_counts(self) -> bool:
        """Whether values are counts, of words say, which a multinomial or Poisson head scores."""
        return self.facts.kind == "counts"

    @property
    def is_picture(self) -> bool:
        """Whether examples can be shown: images that are grey or in colour."""
        return self.is_image and self.shape[-1] in (1, 3)

    def limited(self, count: int) -> "DataSet":
        """With the first `count` training examples only. Raises UserError if there are fewer."""
        available = len(self.splits["train"])
        if not 1 <= count <= available:
            raise UserError(
                f"limit {count} has to lie between 1 and the {available} training examples of "
                f"{self.name}"
            )
        splits = {**self.splits, "train": self.splits["train"].head(count)}
        return dataclasses.replace(self, splits=splits, limit=count)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over names, shapes, types and bytes of all splits: the identity of the data."""
        digest = hashlib.sha256()
        for name in sorted(self.splits):
            split = self.splits[name]
            for array in (split.x, split.y, split.condition):
                if array is None:
                    continue
                digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
                known = getattr(array, "fingerprint", None)  # of arrays on disk
                digest.update(np.ascontiguousarray(array).data if known is None else known.encode())
        return digest.hexdigest()


def _check_factors(split: Split, origin: str) -> None:
    if split.factors is None:
        return
    factors = np.asarray(split.factors)
    if factors.ndim != 2 or len(factors) != len(split) or factors.dtype.kind not in "biuf":
        raise UserError(
            f"{origin}: factors are numbers, a row for each of the {len(split)} examples and a "
            f"column a factor, not {factors.dtype} of {factors.shape}"
        )
