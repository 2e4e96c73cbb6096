"""Bags of words: 20 Newsgroups and the Reuters documents of the package `lda`."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.arrays import UNREADABLE
from ae_jax.data.base import Split
from ae_jax.data.counts import counts_from_text, stored_counts
from ae_jax.data.protocols import Stored, held_out_rows, valid_last
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.fetch import (
    DATA_FOLDER,
    LocalFolder,
    RawFile,
    Unavailable,
    fetch,
    find_in_data_folder,
)
from ae_jax.data.sources.mirrors import PATIENCE, PypiWheel, silence

NEWSGROUPS_FILE = "20news_prodlda.npz"
NEWSGROUPS_SOURCES = (
    f"{NEWSGROUPS_FILE} in the folder named by {DATA_FOLDER}",
    "the download of scikit-learn's fetch_20newsgroups, with a vocabulary of its own",
)
# Where scikit-learn's fetcher goes, asked first whether anyone is there.
_NEWSGROUPS_URL = "https://ndownloader.figshare.com/files/5975967"
_END_OF_TEXT = 0  # a marker, not a word: column 0 of the file, which no document has

REUTERS_FILES = (
    RawFile("reuters.ldac", "", "4bfe5b21ed263334ddf7af56f7b38632f6ccae7d9441c8b56071167841e71b5e"),
    RawFile(
        "reuters.tokens", "", "8fc788b258bb76f9e352885cc20971d64e0011b8d74781129d060818930e3d5a"
    ),
    RawFile(
        "reuters.titles", "", "fac5f54e85f07852d0edaede84642806b08e3c437e24597f79aae0aa82d5d7ee"
    ),
)
REUTERS_FETCHERS = (
    PypiWheel(
        "lda==3.0.2",
        "5092577d2213890f0e1df4e6db02cc50955de97ca94bd57b3405dd53e21c1ab3",
        "lda/tests",
    ),
    LocalFolder("reuters"),
)
REUTERS_SOURCES = ("prepared files", *(fetcher.label for fetcher in REUTERS_FETCHERS))


def newsgroups(work: Path, log: Log) -> Stored:
    """Postings to 20 newsgroups (Lang 1995) as counts of words, under the split by date.

    From the file: 11,258 training and 7,487 test documents over 1,994 words, uint16, as Srivastava
    & Sutton 2017 (ProdLDA) prepared them, without labels; the file's column 0 marks the end of a
    text and is left out. From the fetcher: the 11,314 and 7,532 postings without headers, footers
    and quotes, over the 2,000 words that `counts_from_text` finds in the training ones without
    English stop words, labelled by group. A tenth of the training documents is drawn for
    validation. Raises UserError.
    """
    path = _newsgroups_file(log)
    return _fetched_newsgroups(work, log) if path is None else _prodlda(path, log)


def has_newsgroups_file() -> bool:
    """Whether the user's data folder has the file of 20 Newsgroups."""
    return _newsgroups_file(lambda line: None) is not None


def _newsgroups_file(log: Log) -> Path | None:
    try:
        path = find_in_data_folder("20newsgroups", NEWSGROUPS_FILE)
        log(f"20newsgroups: {path or f'no {NEWSGROUPS_FILE} in {DATA_FOLDER}'}")
        return path
    except Unavailable as error:
        log(f"20newsgroups: {error}")
        return None


def _prodlda(path: Path, log: Log) -> Stored:
    from scipy import sparse

    try:
        with path.open("rb") as opened:
            archive = np.load(opened, allow_pickle=False)
            words = archive["vocab"].tolist()
            parts = [
                sparse.csr_matrix(
                    tuple(archive[f"{part}_{key}"] for key in ("data", "indices", "indptr")),
                    shape=(len(archive[f"{part}_indptr"]) - 1, len(words)),
                )
                for part in ("train", "test")
            ]
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as 20 Newsgroups: {error!r}") from error
    if any(part[:, _END_OF_TEXT].nnz for part in parts):
        raise UserError(f"{path}: column 0 should mark the end of a text and be empty")
    train, test = (part[:, 1:] for part in parts)
    order, held_out = _order_of(train.shape[0])
    origin = f"{path.name}: Srivastava & Sutton 2017, column 0 ({words[0]}) left out"
    return stored_counts(
        train[order], test, held_out, words[1:], "20newsgroups", log, origin=origin
    )


def _fetched_newsgroups(work: Path, log: Log) -> Stored:
    from sklearn.datasets import fetch_20newsgroups

    problem = silence(_NEWSGROUPS_URL, PATIENCE)
    bunches: list[Any] = []
    try:
        if problem:
            raise OSError(problem)
        log("20newsgroups: downloading by scikit-learn")
        for part in ("train", "test"):
            bunches.append(
                fetch_20newsgroups(
                    data_home=work / "sklearn",
                    subset=part,
                    shuffle=False,
                    remove=("headers", "footers", "quotes"),
                    n_retries=1,
                )
            )
    except OSError as error:
        raise UserError(
            f"data set 20newsgroups could not be downloaded ({error}); put {NEWSGROUPS_FILE} into "
            f"the folder named by {DATA_FOLDER}"
        ) from error
    train, test = bunches
    known = counts_from_text(train.data, stop_words="english")
    unseen = counts_from_text(test.data, vocabulary=known.vocabulary)
    order, held_out = _order_of(len(train.data))
    return stored_counts(
        known.matrix[order],
        unseen.matrix,
        held_out,
        known.vocabulary,
        "20newsgroups",
        log,
        labels=(train.target[order], test.target),
        classes=tuple(train.target_names),
        origin="scikit-learn's fetch_20newsgroups, words of ae_jax.data.counts.counts_from_text",
    )


def _order_of(count: int) -> tuple[np.ndarray, int]:
    rows, held_out = valid_last(Split(np.arange(count)), "20newsgroups")
    return rows.x, held_out


def reuters(work: Path, log: Log) -> Stored:
    """395 news of Reuters, 1996 and 1997, as counts of 4,258 words; `names` are their titles.

    As the package `lda` brings them for its tests (Riddell 2014). No split is published: tenths
    are held out. Raises UserError.
    """
    fetch("reuters", REUTERS_FILES, REUTERS_FETCHERS, work, log)
    words = (work / "reuters.tokens").read_text(encoding="utf-8").split()
    titles = (work / "reuters.titles").read_text(encoding="utf-8").splitlines()
    matrix = parse_ldac((work / "reuters.ldac").read_text(), len(words))
    train, valid, test = held_out_rows(len(titles), "reuters")
    rows = np.concatenate([train, valid])
    stored = stored_counts(
        matrix[rows], matrix[test], len(valid), words, "reuters", log, origin="lda 3.0.2, Reuters"
    )
    called = np.array([title.partition(" ")[2] for title in titles])  # without their numbers
    return _named(stored, called[rows], called[test])


def _named(stored: Stored, train: np.ndarray, test: np.ndarray) -> Stored:
    splits = {
        part: dataclasses.replace(getattr(stored, part), names=names)
        for part, names in (("train", train), ("test", test))
    }
    return dataclasses.replace(stored, **splits)


def parse_ldac(text: str, num_words: int) -> Any:
    """The counts [N, V], CSR, in Blei's format: one document a line, `TERMS word:count ...`.

    Raises ValueError for any other text.
    """
    from scipy import sparse

    data, indices, starts = [], [], [0]
    for line in text.splitlines():
        terms, *pairs = line.split()
        if int(terms) != len(pairs):
            raise ValueError(f"a document announces {terms} terms, and {len(pairs)} follow")
        words, counts = zip(*(map(int, pair.split(":")) for pair in pairs), strict=True)
        indices.append(words)
        data.append(counts)
        starts.append(starts[-1] + len(words))
    flat = [np.fromiter(itertools.chain(*parts), np.int32) for parts in (data, indices)]
    return sparse.csr_matrix((*flat, starts), shape=(len(data), num_words))
