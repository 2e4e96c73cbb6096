"""Data are taken for what they are, kept whole, and never written over."""

import csv

import numpy as np
import pytest
import sklearn.datasets._olivetti_faces as olivetti
import sklearn.datasets._twenty_newsgroups as newsgroups
from PIL import Image

from ae_jax.cli.check import check
from ae_jax.core.errors import RunWarning, UserError
from ae_jax.data import DataSet, Split, from_object, info, load
from ae_jax.data.counts import counts_from_text, stored_counts
from ae_jax.data.sources import corpora, faces
from ae_jax.data.sources.records_writer import write_records
from ae_jax.data.sources.user_files import user_file

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whose")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AE_JAX_DATA", raising=False)


@pytest.mark.parametrize(
    ("name", "asked", "fetcher", "inner"),
    [
        ("olivetti", faces, olivetti, "_fetch_remote"),
        ("20newsgroups", corpora, newsgroups, "_download_20newsgroups"),
    ],
)
def test_the_fetchers_of_scikit_learn_take_what_they_are_given(
    name, asked, fetcher, inner, empty_cache, monkeypatch
):
    def unreachable(*given, **options):
        raise OSError("the network is down")

    monkeypatch.setattr(asked, "silence", lambda url, seconds: "")
    monkeypatch.setattr(fetcher, inner, unreachable)
    with pytest.raises(UserError, match=r"could not be downloaded \(the network is down\)"):
        load(name)


def write_table(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_the_file_that_a_run_was_trained_on_is_not_written_over(command, folder):
    rows = [["a", "b", "c"], *RNG.normal(size=(60, 3)).round(3).tolist()]
    table = write_table(folder / "own.csv", rows)
    before = table.read_bytes()
    trained = ("train", "own.csv", "--codec", "pca", "--set", "codec.latent_dim=1")
    assert command(*trained, "--workdir", "own-run")[0] == 0
    for given in (("score", "own-run"), ("encode", "own-run")):
        status, _, error = command(*given, "--out", "own.csv")
        assert status == 2 and "would write over the data" in error
    assert table.read_bytes() == before


def test_what_score_refuses_it_refuses_before_it_scores(command, folder, monkeypatch):
    from ae_jax.api import Fitted

    rows = [["a", "b", "c"], *RNG.normal(size=(60, 3)).round(3).tolist()]
    write_table(folder / "early.csv", rows)
    trained = ("train", "early.csv", "--codec", "pca", "--set", "codec.latent_dim=1")
    assert command(*trained, "--workdir", "early-run")[0] == 0
    monkeypatch.setattr(Fitted, "score", lambda *given, **options: pytest.fail("it scored"))
    asked = ("score", "early-run", "--out", "s.csv", "--false-positive-rate", 0.1)
    status, _, error = command(*asked, "--threshold-split", "vaild")
    assert status == 2 and "did you mean 'valid'" in error


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (6, 6), dtype=np.uint8)).save(path)


@pytest.mark.parametrize(
    "parts", [("train", "dev", "test"), ("train", "val"), ("train", "test", "val", "valid")]
)
def test_a_folder_that_is_cut_in_an_unknown_way_is_no_folder_of_classes(tmp_path, parts):
    for part in parts:
        for index in range(12):
            picture(tmp_path / part / f"{index}.png")
    with pytest.raises(UserError, match="one that is cut already has train, test and possibly"):
        load(str(tmp_path))


def test_one_class_may_be_called_train(tmp_path):
    for part in ("train", "bus", "car"):
        for index in range(12):
            picture(tmp_path / part / f"{index}.png")
    assert load(str(tmp_path)).classes == ("bus", "car", "train")


def test_pictures_beside_texts_are_neither_ignored_nor_do_they_hide_them(tmp_path):
    for index in range(12):
        picture(tmp_path / f"{index}.png")
    (tmp_path / "README.txt").write_text("my pictures")
    assert load(str(tmp_path)).shape == (6, 6, 1)
    (tmp_path / "1.txt").write_text("a caption")
    with pytest.raises(UserError, match="holds texts and pictures"):
        load(str(tmp_path))


def test_a_picture_below_texts_does_not_hide_them(tmp_path):
    for index in range(20):
        (tmp_path / f"{index}.txt").write_text("some words that are in more than one text")
    picture(tmp_path / "figures" / "logo.png")
    (tmp_path / "0.txt").write_text("some other words that are in one")
    assert user_file(str(tmp_path)).read.__name__ == "_folder_of_texts"


def test_a_split_of_another_name_is_not_dropped_in_silence():
    split = Split(np.zeros((4, 3), np.float32))
    with pytest.raises(UserError, match="splits are train, valid, test: call 'val' valid"):
        DataSet("own", {"train": split, "val": split, "test": split})
    with pytest.warns(RunWarning, match="splits are train, valid, test; ood is left out"):
        data = DataSet("own", {"train": split, "ood": split, "test": split})
    assert set(data.splits) == {"train", "test"}


def test_a_first_example_is_not_taken_for_names(tmp_path):
    rows = [[5.1, 3.5, "setosa"], [4.9, 3.0, "setosa"], [6.1, 2.9, "virginica"]] * 20
    path = write_table(tmp_path / "iris.csv", rows)
    with pytest.raises(UserError, match="holds setosa, as rows below do, and numbers"):
        load(f"{path}:setosa")
    named = write_table(
        tmp_path / "pixels.csv", [["label", "0", "1"], *[[1, 2, 3], [0, 4, 5]] * 20]
    )
    assert load(f"{named}:label").facts.feature_names == ("0", "1")


def test_an_index_in_another_order_is_pointed_out(tmp_path, capsys):
    order = RNG.permutation(60)
    rows = [["", "a", "b"], *[[place, place * 0.5, 1.5 - place] for place in order]]
    data = load(str(write_table(tmp_path / "shuffled.csv", rows)))
    assert data.facts.feature_names == ("column 0", "a", "b")  # as a model that has it needs it
    assert "whole numbers that do not repeat" in capsys.readouterr().err


def test_labels_of_training_examples_alone_are_refused_not_dropped(tmp_path):
    x = RNG.normal(size=(20, 3)).astype(np.float32)
    train, other = Split(x, np.zeros(20, np.int32)), Split(x)
    file = tmp_path / "own.py"
    file.write_text(
        "import numpy as np\nfrom ae_jax.data import DataSet, Split\n"
        "x = np.zeros((20, 3), np.float32)\n"
        "made = DataSet('own', {'train': Split(x), 'test': Split(x)})\n"
        "def own():\n    y = np.zeros(20, np.int32)\n"
        "    return DataSet('own', {'train': Split(x, y), 'valid': Split(x), 'test': Split(x)})\n"
        "def sized(count):\n    return made\n"
    )
    with pytest.raises(UserError, match="has labels for train and none for valid"):
        load(f"{file}:own")
    for name in ("made", "sized"):
        with pytest.raises(UserError, match="has to be a function without arguments"):
            load(f"{file}:{name}")
    splits = {"train": [train], "valid": [other], "test": [other]}
    records = write_records(tmp_path / "records", splits)
    with pytest.raises(UserError, match="do not both have labels"):
        load(str(records))


def test_words_that_texts_are_not_cut_into_are_refused():
    with pytest.raises(UserError, match="the vocabulary has 'covid19'"):
        counts_from_text(["some words of covid19"], vocabulary=("some", "covid19"))
    with pytest.raises(UserError, match="stop_words is english or a list"):
        counts_from_text(["ein Wort", "ein Wort"], stop_words="german")
    counts = RNG.poisson(1.0, (20, 2))
    words = np.array([b"cat", b"dog"])
    made = stored_counts(counts[:10], counts[10:], 2, words, "own", lambda text: None)
    assert made.facts.feature_names == ("cat", "dog")


def test_halving_is_below_the_shortest_member(command):
    grid = ("grid", "digits", "--over", "train.epochs=2,20", "--halve", 5, "--hidden", 4)
    status, _, error = command(*grid, "--workdir", "halved", "--print-only")
    assert status == 2 and "below train.epochs=2, of the shortest" in error


def test_defaults_that_no_file_holds_are_listed_by_name(command, folder):
    (folder / "parts.py").write_text(
        "from typing import Any, Callable\nimport flax.linen as nn\nimport jax.numpy as jnp\n"
        "class Wide(nn.Module):\n    '''An encoder.'''\n    hidden: tuple = (8,)\n"
        "    activation: Callable = nn.relu\n    dtype: Any = jnp.float32\n"
        "    act: Callable = nn.gelu\n"
        "    @nn.compact\n    def __call__(self, x):\n        return self.act(nn.Dense(4)(x))\n"
    )
    status, shown, _ = command("list", "parts.py:Wide")
    assert status == 0 and "model.encoder.act=gelu" in shown


def test_a_part_of_another_kind_than_is_said_is_refused(tmp_path):
    (tmp_path / "loss.py").write_text("class Loss:\n    def __call__(self):\n        pass\n")
    for kind, base in (("objective", "Objective"), ("encoder", "Module")):
        with pytest.raises(UserError, match=f"is no {kind}: it is not derived from .*{base}"):
            list(check(f"{tmp_path}/loss.py:Loss", kind))


def test_missing_values_are_told_and_have_no_part_in_the_range(tmp_path):
    rows = [["a", "b"], *RNG.uniform(1, 2, (60, 2)).round(3).tolist()]
    rows[3][1] = ""
    facts = info(str(write_table(tmp_path / "gap.csv", rows)))
    assert facts["missing values"] == 1 and 1 <= facts["range"][0] <= facts["range"][1] <= 2
    assert "missing values" not in info(str(write_table(tmp_path / "whole.csv", rows[4:])))
    assert from_object(np.zeros((30, 2), np.float32)).shape == (2,)
