"""Examples of another file for a model that was fitted before: its columns, words and classes."""

import dataclasses
import functools
import sys
from collections.abc import Callable

import numpy as np

from ae_jax.core.door import for_a_model
from ae_jax.core.errors import UserError
from ae_jax.data.base import DataSet, Split
from ae_jax.data.counts import counts_from_text, dense_counts


def examples_for(
    name: str,
    data: DataSet,
    *,
    load: Callable[[str], DataSet],
    texts: list[str] | None,
    labelled: bool,
) -> tuple[Split, tuple[str, ...] | None]:
    """All examples of a data set as those of `data` are, and the names of their classes.

    They come in the order of the file where there is one. `load` reads it by its name; `texts` are
    those that it holds, if it is of such: their words are counted that the model knows, as it knows
    them. The columns of a table are found by their names, whatever their order, and so are classes
    where the model is `labelled`. Raises UserError for a column or a class that is not there.
    """
    words = data.facts.feature_names
    if texts is not None and data.is_counts and words:
        return Split(dense_counts(counts_from_text(texts, vocabulary=words).matrix, name)), None
    with for_a_model():
        found = load(name)
    whole = functools.reduce(lambda before, part: part.after(before), found.splits.values())
    if whole.names is not None and whole.names.dtype.kind in "iu":
        whole = whole.rows(np.argsort(whole.names))
    theirs = found.facts.feature_names
    if words and theirs and words != theirs:
        whole = dataclasses.replace(whole, x=_columns(whole.x, theirs, words, data, name))
    if not labelled:
        return whole, found.classes
    return _relabelled(whole, found.classes, data.classes, name), data.classes


def _columns(
    x: np.ndarray, theirs: tuple[str, ...], ours: tuple[str, ...], data: DataSet, name: str
) -> np.ndarray:
    """The columns [N, D] that are ours, in our order; a word that is in no text has count 0."""
    place = {column: i for i, column in enumerate(theirs)}
    lacking = [column for column in ours if column not in place]
    if lacking and not data.is_counts:
        raise UserError(f"{name} lacks the column {lacking[0]!r} of the data of the run")
    unknown = [column for column in theirs if column not in ours]
    if unknown and not data.is_counts:
        print(
            f"{name}: {', '.join(unknown)} left out, which the data of the run have not",
            file=sys.stderr,
        )
    counts = np.zeros((len(x), len(ours)), x.dtype)
    for i, column in enumerate(ours):
        if column in place:
            counts[:, i] = x[:, place[column]]
    return counts


def _relabelled(
    split: Split, theirs: tuple[str, ...] | None, ours: tuple[str, ...] | None, name: str
) -> Split:
    """The labels as those of `ours` are numbered, by their names. Raises UserError."""
    if theirs == ours or split.y is None:
        return split
    if theirs is None or ours is None:
        named, numbered = ("the data of the run", name) if ours else (name, "the data of the run")
        raise UserError(f"classes of {named} have names, and those of {numbered} are numbers")
    unknown = [one for one in theirs if one not in ours]
    if unknown:
        raise UserError(f"{name} has the class {unknown[0]!r}, which the data of the run has not")
    place = np.array([ours.index(one) for one in theirs], np.int32)
    return dataclasses.replace(split, y=place[np.asarray(split.y)])
