"""Six dictionaries: the measures at their extremes, the view of NMF, and the command."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ae_jax.codecs import Nmf, Pca
from ae_jax.viz.dictionaries import dictionary_panels, scaled
from experiments import dictionaries
from experiments.dictionaries import Channels, Source, fit, sparseness


@pytest.fixture(scope="module")
def source() -> Source:
    x = load_digits().data.astype(np.float32) / 16
    return Source("digits", x[:300], x[300:400], 8, 0.5)


def test_sparseness_at_its_extremes():
    assert sparseness(np.eye(7)) == pytest.approx(1)
    assert sparseness(-np.ones((3, 7))) == pytest.approx(0)
    assert sparseness(np.concatenate([np.eye(4), np.zeros((4, 4))])) == pytest.approx(1)


def test_errors_are_those_of_scikit_learn(source):
    found = fit(Pca(5), source)
    reference = PCA(5).fit(source.train)
    for split, error in ((source.train, found.train_error), (source.test, found.test_error)):
        restored = reference.inverse_transform(reference.transform(split))
        assert error == pytest.approx(np.square(restored - split).mean(), rel=1e-4)


def test_nmf_sees_two_channels_of_signed_data_and_none_of_other(source):
    x = np.array([[1.0, -2.0, 0.0]], np.float32)
    both = Channels().split(x)
    np.testing.assert_array_equal(both, [[1, 0, 0, 0, 2, 0]])
    np.testing.assert_array_equal(Channels().join(both), x)
    signed = dataclasses.replace(source, train=source.train - 0.5, test=source.test - 0.5)
    found = fit(Nmf(6, max_iterations=20), signed)
    assert (found.atoms < 0).any() and found.atoms.shape == (6, 8, 8)
    restored = found.codes @ found.atoms.reshape(6, 64)
    assert found.test_error == pytest.approx(np.square(restored - signed.test).mean(), rel=1e-4)
    assert (fit(Nmf(6, max_iterations=20), source).atoms >= 0).all()


def test_atoms_are_scaled_one_by_one():
    atoms = np.array([[[-2.0, 1.0]], [[0.0, 0.5]], [[0.0, 0.0]]])
    np.testing.assert_allclose(scaled(atoms), [[[0, 0.75]], [[0.5, 1]], [[0.5, 0.5]]])
    np.testing.assert_allclose(scaled(np.abs(atoms)), [[[1, 0.5]], [[0, 1]], [[0, 0]]])
    figure = dictionary_panels({"one": atoms, "two": atoms}, columns=2, title="both")
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]


def test_smoke_writes_results_figures_and_a_report(tmp_path):
    arguments = ["--preset", "smoke", "--workdir", str(tmp_path)]
    result = CliRunner().invoke(dictionaries.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["claims"]) == 8 and len(results["runs"]) == 12
    held = {claim["name"]: claim["holds"] for claim in results["claims"]}
    assert held["digits: no codec has less training error than PCA at the same code size"]
    for source in ("digits", "patches"):
        rows = {row["codec"]: row for row in results["tables"][source]}
        assert len(rows) == 6 and rows["kmeans"]["L0"] == rows["kmeans"]["sparseness"] == 1
        assert rows["ica"]["test MSE"] == pytest.approx(rows["pca"]["test MSE"], rel=1e-2)
    for name in ("digits", "patches", "error"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_claim_that_does_not_hold_is_said_not_to():
    preset = dictionaries.PRESETS["smoke"]
    codes = np.ones((4, 9))

    def one(error: float) -> dictionaries.Dictionary:
        return dictionaries.Dictionary(np.zeros((9, 6, 6)), codes, error, error, 0.0, 1, True)

    names = ("pca", "probabilistic_pca", "ica", "kmeans", "nmf", "sparse_coding")
    found = {9: {name: one(1.0 if name == "pca" else 0.9) for name in names}}
    verdicts = [claim.holds for claim in dictionaries.claims("digits", found, preset)]
    assert verdicts == [False, False, True, True]
    claim = dictionaries.closed_form_claim({64: {"pca": one(0.0095)}}, 0.03)
    assert not claim.holds and claim.value == pytest.approx(0.05, abs=1e-3)
