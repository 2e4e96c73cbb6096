"""Which examples are for training, validation and test.

Every source stores its examples once: training examples, then the test examples apart. A
protocol only says where the training examples are cut, so both protocols share the same bytes.
"""

import dataclasses

import numpy as np

from ae_jax.core.door import is_for_a_model
from ae_jax.core.errors import UserError
from ae_jax.core.registry import unknown_name
from ae_jax.data.base import DataSet, Facts, Split

PROTOCOLS = ("paper", "full")
HOLD_OUT_SEED = 1312_6114
_NO_FACTS = Facts()


@dataclasses.dataclass(frozen=True)
class Stored:
    """A data set before a protocol is chosen.

    `train` ends with the `valid_count` examples that the protocol "paper" holds out for
    validation; "full" trains on them too. `max_value`, `classes`, `facts` and
    `declared_classes` are those of `DataSet`.
    """

    train: Split
    test: Split
    valid_count: int = 0
    max_value: float | None = None
    classes: tuple[str, ...] | None = None
    facts: Facts = Facts()
    declared_classes: int | None = None

    def under(self, protocol: str, name: str) -> DataSet:
        """The data set with the splits of a protocol. Raises UserError for an unknown one."""
        if protocol not in PROTOCOLS:
            raise unknown_name("protocol", protocol, PROTOCOLS)
        splits = {"train": self.train, "test": self.test}
        if protocol == "paper" and self.valid_count:
            cut = len(self.train) - self.valid_count
            splits = {
                "train": self.train.head(cut),
                "valid": self.train.rows(slice(cut, None)),
                "test": self.test,
            }
        return DataSet(
            name,
            splits,
            self.max_value,
            protocol,
            classes=self.classes,
            facts=self.facts,
            declared_classes=self.declared_classes,
        )


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
    return hold_out_rows(Split(x, y), max_value, name, classes)


def hold_out_rows(
    examples: Split,
    max_value: float | None,
    name: str,
    classes: tuple[str, ...] | None = None,
    facts: Facts = _NO_FACTS,
) -> Stored:
    """`hold_out` for examples with all that belongs to them. Raises UserError.

    Those without names are called by their numbers, from 0: no part has them in a row.
    """
    if examples.names is None:
        examples = dataclasses.replace(examples, names=np.arange(len(examples)))
    train, valid, test = held_out_rows(len(examples), name)
    return Stored(
        train=examples.rows(np.concatenate([train, valid])),
        test=examples.rows(test),
        valid_count=len(valid),
        max_value=max_value,
        classes=classes,
        facts=facts,
    )


def held_out_rows(count: int, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows are for training, validation and test, each in rising order. Raises UserError."""
    if count < 3 and is_for_a_model():
        return np.arange(count), np.arange(0), np.arange(0)
    if count < 3:
        raise UserError(
            f"data set {name}: {count} examples cannot be split into training, validation and test"
        )
    tenth = max(1, round(count / 10))
    # RandomState's streams are frozen for good; those of numpy's newer generators may change.
    order = np.random.RandomState(HOLD_OUT_SEED).permutation(count)
    test, valid, train = order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :]
    return np.sort(train), np.sort(valid), np.sort(test)


def valid_last(train: Split, name: str) -> tuple[Split, int]:
    """Training examples with a tenth of them drawn to the end, for validation; and how many.

    For sets with test examples of their own. The draw depends on their number only, and the order
    within both parts is kept. Raises UserError.
    """
    tenth = max(1, round(len(train) / 10))
    if len(train) <= tenth:
        raise UserError(f"data set {name}: {len(train)} examples are too few for validation")
    order = np.random.RandomState(HOLD_OUT_SEED).permutation(len(train))
    rows = np.concatenate([np.sort(order[tenth:]), np.sort(order[:tenth])])
    return train.rows(rows), tenth
