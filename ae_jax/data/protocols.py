"""Which examples are for training, validation and test.

Every source stores its examples once: training examples, then the test examples apart. A
protocol only says where the training examples are cut, so both protocols share the same bytes.
"""

import dataclasses

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.core.registry import unknown_name
from ae_jax.data.base import DataSet, Split

PROTOCOLS = ("paper", "full")
HOLD_OUT_SEED = 1312_6114


@dataclasses.dataclass(frozen=True)
class Stored:
    """A data set before a protocol is chosen.

    `train` ends with the `valid_count` examples that the protocol "paper" holds out for
    validation; "full" trains on them too. `max_value` and `classes` are those of `DataSet`.
    """

    train: Split
    test: Split
    valid_count: int = 0
    max_value: float | None = None
    classes: tuple[str, ...] | None = None

    def under(self, protocol: str, name: str) -> DataSet:
        """The data set with the splits of a protocol. Raises UserError for an unknown one."""
        if protocol not in PROTOCOLS:
            raise unknown_name("protocol", protocol, PROTOCOLS)
        splits = {"train": self.train, "test": self.test}
        if protocol == "paper" and self.valid_count:
            cut = len(self.train) - self.valid_count
            splits = {
                "train": self.train.head(cut),
                "valid": _rows(self.train, slice(cut, None)),
                "test": self.test,
            }
        return DataSet(name, splits, self.max_value, protocol, classes=self.classes)


def hold_out(
    x: np.ndarray,
    y: np.ndarray | None,
    max_value: float | None,
    name: str,
    classes: tuple[str, ...] | None = None,
) -> Stored:
    """Examples without splits of their own: a tenth for validation, a tenth for test.

    The two tenths are drawn by one permutation that depends on the number of examples only, so
    that neighbours in a sequence (frames of a film, rows sorted by class) spread over all parts.
    Within each part the examples keep their order.
    """
    if len(x) < 3:
        raise UserError(
            f"data set {name}: {len(x)} examples cannot be split into training, validation and test"
        )
    tenth = max(1, round(len(x) / 10))
    # RandomState's streams are frozen for good; those of numpy's newer generators may change.
    order = np.random.RandomState(HOLD_OUT_SEED).permutation(len(x))
    test, valid, train = (
        np.sort(rows) for rows in (order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :])
    )
    everything = Split(x, y)
    return Stored(
        train=_rows(everything, np.concatenate([train, valid])),
        test=_rows(everything, test),
        valid_count=tenth,
        max_value=max_value,
        classes=classes,
    )


def _rows(split: Split, rows) -> Split:
    return Split(split.x[rows], None if split.y is None else split.y[rows])
