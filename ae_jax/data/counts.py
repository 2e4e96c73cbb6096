"""Data sets of counts: how often each word of a vocabulary is in each document.

Counts lie dense on the device, as small unsigned integers: 11,000 documents over 2,000 words take
22 to 45 MB, and every program that takes vectors takes them. Where they would take too much of the
memory of the host they stay sparse there (`SparseCounts`), and batches of them are made dense and
streamed. They are marked as counts
(`Facts.kind`), have no largest value, and so are never divided by one: `data.preprocess=auto` is
`identity`.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ae_jax.core.door import is_for_a_model, summed
from ae_jax.core.errors import UserError
from ae_jax.data.base import Facts, Split
from ae_jax.data.protocols import Stored, held_out_rows
from ae_jax.data.sparse_counts import SparseCounts

# Letters only, in any script; single letters, digits and underscores are no words.
WORD = r"(?u)\b[^\W\d_]{2,}\b"
_MEMORY_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Counts:
    """`matrix` [N, V] of scipy, in rows (CSR), and the word of each column."""

    matrix: Any
    vocabulary: tuple[str, ...]


def counts_from_text(
    texts: Iterable[str],
    *,
    max_words: int = 2000,
    min_documents: int = 2,
    max_share: float = 0.5,
    stop_words: str | Sequence[str] | None = None,
    vocabulary: Sequence[str] | None = None,
) -> Counts:
    """Words counted in texts, by scikit-learn's `CountVectorizer`.

    Words are runs of two letters or more, in lower case. The vocabulary is made of the `max_words`
    most frequent words that are in `min_documents` texts or more and in no larger share of them
    than `max_share`, without `stop_words` ("english": scikit-learn's list); in alphabetical order.
    A `vocabulary` that is given is used as it is, as for new texts of a trained model. Raises
    UserError where no word is left, and for words of a vocabulary that texts are not cut into.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    rule = {"min_df": min_documents, "max_df": max_share, "max_features": max_words}
    vectorizer = CountVectorizer(
        token_pattern=WORD,
        stop_words=list(stop_words) if isinstance(stop_words, list | tuple) else stop_words,
        dtype=np.int32,
        **(rule if vocabulary is None else {"vocabulary": list(vocabulary)}),
    )
    if isinstance(stop_words, str) and stop_words != "english":
        raise UserError(f"stop_words is english or a list of words, not {stop_words!r}")
    strange = [w for w in vocabulary or () if w != w.lower() or re.fullmatch(WORD, w) is None]
    if strange:
        raise UserError(
            f"the vocabulary has {strange[0]!r}, and texts are cut into words of two lower-case "
            "letters or more: give counts of its words, and not texts"
        )
    texts = list(texts)
    if any(not isinstance(text, str) for text in texts):
        raise UserError("texts to count words in have to be strings")
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError as error:  # also where so few texts cannot be in min_documents of them
        raise UserError(
            f"no words are left of {len(texts)} texts: {min_documents} of them or more and at "
            f"most {max_share:.0%} have to hold a word"
        ) from error
    return Counts(matrix, tuple(vectorizer.get_feature_names_out()))


def stored_texts(texts: Sequence[str], name: str, log: Any, origin: str) -> Stored:
    """Texts as a data set; its vocabulary comes from all but the test texts. Raises UserError."""
    train, valid, test = held_out_rows(len(texts), name)
    rows = np.concatenate([train, valid])
    known = counts_from_text([texts[row] for row in rows])
    held_out = counts_from_text([texts[row] for row in test], vocabulary=known.vocabulary)
    return stored_counts(
        known.matrix, held_out.matrix, len(valid), known.vocabulary, name, log,
        rows=(rows, test), origin=origin,
    )  # fmt: skip


def stored_counts(
    train: Any,
    test: Any,
    valid_count: int,
    vocabulary: Sequence[str] | None,
    name: str,
    log: Any,
    *,
    labels: tuple[np.ndarray, np.ndarray] | None = None,
    classes: tuple[str, ...] | None = None,
    rows: tuple[np.ndarray, np.ndarray] | None = None,
    origin: str = "",
) -> Stored:
    """A data set of two sparse or dense matrices [N, V] of counts. Raises UserError.

    `labels` are those of both, and `rows` their places in what they were taken from; `log` is told
    of the memory, and of documents without a word.
    """
    parts: list[Any] = [held_counts(matrix, name) for matrix in (train, test)]
    kind = np.result_type(*(part.dtype for part in parts))
    splits = []
    for index, part in enumerate(parts):
        y = None if labels is None else np.asarray(labels[index], np.int32)
        names = None if rows is None else rows[index]
        splits.append(Split(_of_type(part, kind), y, names=names))
    size, width = sum(map(len, splits)), splits[0].x.shape[1]
    sparse = any(isinstance(part, SparseCounts) for part in parts)
    held = "sparse on the host, made dense by batch" if sparse else ""
    log(
        f"{name}: {size} x {width} counts, "
        + (held or f"{sum(s.x.nbytes for s in splits) / 1e6:.1f} MB")
    )
    empty = sum(_empty_rows(split.x) for split in splits)
    if empty:
        log(f"{name}: {empty} documents hold no word of the vocabulary")
    words = None if vocabulary is None else tuple(map(_word, vocabulary))
    facts = Facts("counts", feature_names=words, origin=origin)
    return Stored(splits[0], splits[1], valid_count, None, classes, facts)


def _word(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def held_counts(matrix: Any, name: str) -> np.ndarray | SparseCounts:
    """Counts as they are held on the host: dense, or sparse where dense they would not fit.

    In the type of `dense_counts`. Raises UserError for what are no counts.
    """
    from scipy import sparse

    if sparse.issparse(matrix):
        matrix = summed(matrix)
    kind = _kind_of(matrix, name)
    if sparse.issparse(matrix) and _dense_bytes(matrix, kind) > _memory():
        return SparseCounts(matrix.astype(kind))
    return dense_counts(matrix, name)


def _of_type(part: Any, kind: np.dtype) -> Any:
    if isinstance(part, SparseCounts):
        return SparseCounts(part.matrix.astype(kind, copy=False))
    return part.astype(kind, copy=False)


def _empty_rows(x: np.ndarray | SparseCounts) -> int:
    if isinstance(x, SparseCounts):
        return int((x.matrix.max(axis=1).toarray() == 0).sum())
    return int((x.max(axis=1) == 0).sum())


def dense_counts(matrix: Any, name: str) -> np.ndarray:
    """Counts [N, V] in the smallest of uint8, uint16 and float32 that holds them exactly.

    Raises UserError for anything but whole numbers from 0 to 2^24, and for more of them than fit
    into half of the memory.
    """
    from scipy import sparse

    if sparse.issparse(matrix):
        matrix = summed(matrix)
    kind = _kind_of(matrix, name)
    needed = _dense_bytes(matrix, kind)
    if needed > _memory():
        raise UserError(
            f"data set {name}: {matrix.shape[0]} x {matrix.shape[1]} counts take "
            f"{needed / 2**30:,.1f} GiB when made dense, and there are {_memory() / 2**30:,.1f} "
            "GiB for them: keep fewer words"
        )
    return (
        matrix.astype(kind).toarray()
        if sparse.issparse(matrix)
        else np.asarray(matrix).astype(kind)
    )


def _memory() -> int:
    """Bytes that counts may take when they are dense."""
    return int(_MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _dense_bytes(matrix: Any, kind: np.dtype) -> int:
    return int(matrix.shape[0]) * int(matrix.shape[1]) * kind.itemsize


def _kind_of(matrix: Any, name: str) -> np.dtype:
    """The smallest type that holds counts. Raises UserError for what are none."""
    from scipy import sparse

    is_sparse = sparse.issparse(matrix)
    values = matrix.data if is_sparse else np.asarray(matrix)
    if values.dtype.kind not in "buif":
        raise UserError(f"data set {name}: values of type {values.dtype} are no counts")
    needed = matrix.shape[1:] if is_for_a_model() else matrix.shape
    if len(matrix.shape) != 2 or 0 in needed:
        raise UserError(f"data set {name}: counts need shape [N, V], not {matrix.shape}")
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high <= 2**24) or (values != np.floor(values)).any():
        raise UserError(f"data set {name}: counts are whole numbers from 0 to 2^24")
    return np.dtype(np.uint8 if high < 2**8 else np.uint16 if high < 2**16 else np.float32)
