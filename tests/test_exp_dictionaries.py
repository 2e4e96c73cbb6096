"""Six dictionaries: the measures at their extremes, the view of NMF, and the command."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ae_jax.codecs import Nmf, Pca
from ae_jax.data import DataSet, Split
from ae_jax.lab import Lab, WouldFit
from ae_jax.report.dictionaries import dictionary_panels, scaled
from experiments import baselines, dictionaries, dictionaries_fitted
from experiments.dictionaries_fitted import Source, fit, joined, on_and_off, sparseness


@pytest.fixture(scope="module")
def source() -> Source:
    x = load_digits().images.astype(np.float32)[..., None] / 16
    splits = {"train": Split(x[:300]), "test": Split(x[300:400])}
    return Source(DataSet("digits", splits, protocol="full"), "identity", 0.5)


def rows_of(source: Source, split: str) -> np.ndarray:
    x = source.data.splits[split].x
    return x.reshape(len(x), -1)


def test_sparseness_at_its_extremes():
    assert sparseness(np.eye(7)) == pytest.approx(1)
    assert sparseness(-np.ones((3, 7))) == pytest.approx(0)
    assert sparseness(np.concatenate([np.eye(4), np.zeros((4, 4))])) == pytest.approx(1)


@pytest.mark.slow
def test_errors_are_those_of_scikit_learn(source, tmp_path):
    found = fit(Lab(tmp_path), "pca", Pca(5), source)
    train, test = (rows_of(source, split) for split in ("train", "test"))
    reference = PCA(5).fit(train)
    for x, error in ((train, found.train_error), (test, found.test_error)):
        restored = reference.inverse_transform(reference.transform(x))
        assert error == pytest.approx(np.square(restored - x).mean(), rel=1e-4)


@pytest.mark.slow
def test_nmf_sees_two_channels_of_signed_data_and_none_of_other(source, tmp_path):
    x = np.array([1.0, -2.0, 0.0], np.float32).reshape(1, 1, 3, 1)
    both = on_and_off(DataSet("one", {"train": Split(x), "test": Split(x)})).splits["train"].x
    np.testing.assert_array_equal(both[0, 0], [[1, 0], [0, 2], [0, 0]])
    np.testing.assert_array_equal(joined(both), x[..., 0])
    shifted = {name: Split(part.x - 0.5) for name, part in source.data.splits.items()}
    signed = dataclasses.replace(source, data=DataSet("signed", shifted, protocol="full"))
    found = fit(Lab(tmp_path), "signed", Nmf(6, max_iterations=20), signed)
    assert (found.atoms < 0).any() and found.atoms.shape == (6, 8, 8)
    restored = found.codes @ found.atoms.reshape(6, 64)
    error = np.square(restored - rows_of(signed, "test")).mean()
    assert found.test_error == pytest.approx(error, rel=1e-4)
    assert (fit(Lab(tmp_path), "plain", Nmf(6, max_iterations=20), source).atoms >= 0).all()


@pytest.mark.slow
def test_a_fit_is_kept_and_read_back_and_a_plan_fits_nothing(source, tmp_path):
    with pytest.raises(WouldFit, match="pca"):
        fit(Lab(tmp_path, fits=False), "pca", Pca(5), source)
    assert not any(tmp_path.iterdir())
    first = fit(Lab(tmp_path), "pca", Pca(5), source)
    again = fit(Lab(tmp_path, fits=False), "pca", Pca(5), source)
    np.testing.assert_array_equal(first.atoms, again.atoms)
    assert first.run == again.run


def test_atoms_are_scaled_one_by_one():
    atoms = np.array([[[-2.0, 1.0]], [[0.0, 0.5]], [[0.0, 0.0]]])
    np.testing.assert_allclose(scaled(atoms), [[[0, 0.75]], [[0.5, 1]], [[0.5, 0.5]]])
    np.testing.assert_allclose(scaled(np.abs(atoms)), [[[1, 0.5]], [[0, 1]], [[0, 0]]])
    figure = dictionary_panels({"one": atoms, "two": atoms}, columns=2, title="both")
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]


@pytest.mark.slow
def test_smoke_writes_results_figures_and_a_report(tmp_path):
    arguments = ["--preset", "smoke", "--workdir", str(tmp_path)]
    result = CliRunner().invoke(dictionaries.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["claims"]) == 8 and len(results["runs"]) == 12
    held = {claim["name"]: claim["holds"] for claim in results["claims"]}
    assert held["digits: no codec has less training error than PCA at the same code size"]
    for source in ("digits", "natural patches"):
        rows = {row["codec"]: row for row in results["tables"][source]}
        assert len(rows) == 6 and rows["kmeans"]["L0"] == rows["kmeans"]["sparseness"] == 1
        assert rows["ica"]["test MSE"] == pytest.approx(rows["pca"]["test MSE"], rel=1e-2)
    for name in ("digits", "natural_patches", "error"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_plan_of_the_command_names_the_first_fit(tmp_path):
    arguments = ["--preset", "smoke", "--workdir", str(tmp_path), "--print-only"]
    result = CliRunner().invoke(dictionaries.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "next: the fit of digits/pca-9" in result.output
    assert not any(tmp_path.iterdir())


def test_a_claim_that_does_not_hold_is_said_not_to():
    preset = dictionaries.PRESETS["smoke"]
    codes = np.ones((4, 9))

    def one(error: float) -> dictionaries_fitted.Dictionary:
        return dictionaries_fitted.Dictionary(np.zeros((9, 6, 6)), codes, error, error, {})

    names = ("pca", "probabilistic_pca", "ica", "kmeans", "nmf", "sparse_coding")
    found = {9: {name: one(1.0 if name == "pca" else 0.9) for name in names}}
    verdicts = [claim.holds for claim in dictionaries.claims("digits", found, preset)]
    assert verdicts == [False, True, True]
    claim = dictionaries.closed_form_claim({64: {"pca": one(0.0095)}}, 0.03)
    assert not claim.holds and claim.value == pytest.approx(0.05, abs=1e-3)


def test_pca_is_judged_by_scikit_learn_on_the_same_examples():
    source = dictionaries_fitted.sources(dictionaries.PRESETS["smoke"], None)[0]
    train, test = (baselines.rows_of(source.data, name).astype(float) for name in ("train", "test"))
    mean = train.mean(axis=0)
    basis = np.linalg.svd(train - mean, full_matrices=False)[2][:9]
    error = float(np.square((test - mean) - (test - mean) @ basis.T @ basis).mean())
    one = dictionaries_fitted.Dictionary(np.zeros((9, 6, 6)), np.ones((4, 9)), error, error, {})
    assert dictionaries.reference_claim(source, 9, one).holds
    worse = dataclasses.replace(one, test_error=1.001 * error)
    claim = dictionaries.reference_claim(source, 9, worse)
    assert not claim.holds and claim.value == pytest.approx(1e-3, rel=0.05)
