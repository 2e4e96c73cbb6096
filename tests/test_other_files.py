"""Files that a model is asked about: columns, words and classes are those it was fitted on."""

import csv

import numpy as np
import pytest

from ae_jax import api
from ae_jax.data import examples_for, load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("other_files")


def table(path, columns, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(path)


@pytest.fixture(scope="module")
def rows():
    return np.round(np.random.default_rng(0).normal(size=(40, 3)) * (1, 10, 100), 3)


@pytest.fixture(scope="module")
def fitted_on(folder, rows):
    kinds = np.resize(["ant", "bee", "cow"], len(rows))
    with_kinds = [[*row, kind] for row, kind in zip(rows.tolist(), kinds, strict=True)]
    return load(table(folder / "a.csv", ["a", "b", "c", "kind"], with_kinds) + ":kind")


def test_columns_are_found_by_name(folder, rows, fitted_on):
    name = table(folder / "b.csv", ["c", "other", "a", "b"], rows[:, [2, 2, 0, 1]].tolist())
    found, _ = examples_for(name, fitted_on)
    np.testing.assert_allclose(found.x, rows, rtol=1e-6)
    name = table(folder / "c.csv", ["a", "b", "d"], rows.tolist())
    with pytest.raises(api.UserError, match="c.csv lacks the column 'c'"):
        examples_for(name, fitted_on)


def test_classes_are_found_by_name_where_they_are_asked(folder, rows, fitted_on):
    def labelled(name, kinds):
        some = [[*row, kind] for row, kind in zip(rows[: len(kinds)].tolist(), kinds, strict=True)]
        return table(folder / name, ["a", "b", "c", "kind"], some) + ":kind"

    # There the bee would be the first class.
    name = labelled("two.csv", ["cow", "bee", "cow"] * 5)
    found, classes = examples_for(name, fitted_on, labelled=True)
    assert [classes[i] for i in found.y] == ["cow", "bee", "cow"] * 5
    assert found.y[:2].tolist() == [2, 1]
    name = labelled("dog.csv", ["cow", "dog"] * 5)
    with pytest.raises(api.UserError, match="class 'dog', which the data of the run has not"):
        examples_for(name, fitted_on, labelled=True)
    found, classes = examples_for(name, fitted_on)  # said, and not looked at
    assert [classes[i] for i in found.y[:2]] == ["cow", "dog"]
    name = labelled("numbers.csv", [0, 1] * 5)
    with pytest.raises(api.UserError, match="classes of the data of the run have names"):
        examples_for(name, fitted_on, labelled=True)


def test_words_are_those_that_the_model_knows(folder):
    (folder / "a.txt").write_text("red apple\ngreen apple pie\nred wine\ngreen wine pie\n" * 5)
    known = load(str(folder / "a.txt"))
    words = known.facts.feature_names
    (folder / "b.txt").write_text("wine wine and beer\nred cars, fast cars\n")
    found, _ = examples_for(str(folder / "b.txt"), known)
    expected = [[2 * (word == "wine") for word in words], [word == "red" for word in words]]
    assert found.x.tolist() == np.array(expected, int).tolist()


def test_scores_are_those_of_the_table_as_it_was(folder, rows, command, fitted_on):
    table(folder / "train.csv", ["a", "b", "c"], rows.tolist())
    table(folder / "turned.csv", ["c", "b", "a"], rows[:, ::-1].tolist())
    of_codec = ("--codec", "pca", "--latent-dim", 1, "--workdir", "run")
    assert command("train", "train.csv", *of_codec)[0] == 0
    scores = []
    for name in ("train", "turned"):
        given = ("--data", f"{name}.csv", "--out", f"{name}_scores.csv")
        status, _, err = command("score", "run", *given)
        assert status == 0, err
        with open(folder / f"{name}_scores.csv") as file:
            scores.append([float(row["score"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(*scores, rtol=1e-6)
    before = (folder / "turned.csv").read_bytes()
    status, _, err = command("score", "run", "--data", "turned.csv", "--out", "turned.csv")
    assert status == 2 and "would write over the data" in err
    assert (folder / "turned.csv").read_bytes() == before


@pytest.mark.slow
def test_a_class_goes_by_its_name_or_its_number(folder, rows, command):
    kinds = np.resize(["ant", "bee"], len(rows))
    named = [[*row, kind] for row, kind in zip(rows.tolist(), kinds, strict=True)]
    table(folder / "named.csv", ["a", "b", "c", "kind"], named)
    small = ("--hidden", 4, "--epochs", 1, "--latent-dim", 2, "--set", "model.condition=label")
    assert command("train", "named.csv:kind", *small, "--workdir", "named")[0] == 0
    drawn = []
    for label in ("bee", "1"):
        given = ("--label", label, "--count", 3, "--out", "drawn.npz")
        status, _, err = command("sample", "named", *given)
        assert status == 0, err
        with np.load(folder / "drawn.npz") as archive:
            drawn.append(archive[archive.files[0]])
    np.testing.assert_array_equal(*drawn)
    status, _, err = command("sample", "named", "--label", "wasp", "--out", "drawn.npz")
    assert status == 2 and "unknown class 'wasp': valid: ant, bee" in err
