"""Measures of disentanglement at their extremes, and against SciPy and hand-made tables."""

import itertools

import numpy as np
import pytest
from scipy import stats

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Facts, Split
from ae_jax.eval import Disentanglement
from ae_jax.eval.disentanglement import (
    attribute_gap,
    dci,
    factor_vae_score,
    mutual_information_gap,
)

SIZES = (3, 4, 5)
# All combinations, twenty times: factors are independent to the last count.
FACTORS = np.tile(list(itertools.product(*map(range, SIZES))), (20, 1))


def rng():
    return np.random.default_rng(3)


def test_factors_themselves_are_disentangled():
    """In any order, unit and sign, with dimensions beside them that say nothing."""
    codes = np.stack(
        [-3.0 * FACTORS[:, 1], np.zeros(len(FACTORS)), 5.0 + FACTORS[:, 2], 0.1 * FACTORS[:, 0]],
        axis=1,
    )
    assert mutual_information_gap(codes, FACTORS) == pytest.approx(1.0)
    assert attribute_gap(codes, FACTORS, None) == pytest.approx(1.0)
    # Thresholds on a dimension that says nothing are right of one class in three.
    assert attribute_gap(codes, FACTORS, FACTORS[:, 0]) == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert dci(codes, FACTORS, 0) == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)
    scaled = codes * np.array([1, 1, 1, 10.0])  # above what counts as active
    assert factor_vae_score(scaled, FACTORS, rng()) == 1.0


def test_dimensions_that_tell_the_same_have_no_gap():
    codes = np.repeat(FACTORS.sum(axis=1, keepdims=True) + 0.0, 3, axis=1)
    assert mutual_information_gap(codes, FACTORS) == 0.0
    assert attribute_gap(codes, FACTORS, FACTORS[:, 0]) == 0.0
    disentangled, complete, informed = dci(
        codes + 1e-9 * rng().normal(size=codes.shape), FACTORS, 0
    )
    assert disentangled < 0.15 and complete < 0.25 and informed < 0.7


def test_noise_tells_nothing():
    codes = rng().normal(size=(len(FACTORS), 4))
    assert mutual_information_gap(codes, FACTORS) < 0.03
    assert attribute_gap(codes, FACTORS, None) < 0.02
    assert dci(codes, FACTORS, 0)[2] == pytest.approx(np.mean([1 / n for n in SIZES]), abs=0.05)
    assert factor_vae_score(codes, FACTORS, rng(), votes=4000) == pytest.approx(1 / 3, abs=0.08)


def test_a_code_that_has_collapsed_is_as_good_as_the_most_frequent_factor():
    codes = np.zeros((len(FACTORS), 2))
    assert mutual_information_gap(codes, FACTORS) == attribute_gap(codes, FACTORS, None) == 0.0
    disentangled, complete, informed = dci(codes, FACTORS, 0)
    assert disentangled == complete == 0.0
    assert informed == pytest.approx(np.mean([1 / n for n in SIZES]), abs=0.05)
    assert factor_vae_score(codes, FACTORS, rng(), votes=4000) == pytest.approx(1 / 3, abs=0.03)


def test_gap_of_information_is_that_of_a_table_made_by_hand():
    """One bit, told whole by one dimension and in three of four cases by the other."""
    bit = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    mostly = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    codes, factors = np.stack([bit, mostly], axis=1) + 0.0, bit[:, None]
    left = np.log(2) - stats.entropy([3 / 4, 1 / 4])
    assert mutual_information_gap(codes, factors, 2) == pytest.approx(1 - left / np.log(2))


def test_attribute_gap_of_ordered_factors_is_that_of_correlations():
    codes = FACTORS @ rng().normal(size=(3, 2)) + rng().normal(size=(len(FACTORS), 2))
    squared = np.array([[stats.pearsonr(z, v)[0] ** 2 for v in FACTORS.T] for z in codes.T])
    expected = np.abs(squared[0] - squared[1]).mean()
    assert attribute_gap(codes, FACTORS, None) == pytest.approx(expected)


def test_importances_of_two_factors_that_share_a_dimension_are_less_disentangled():
    """Two factors in one dimension: each of them is complete there, and it is of two."""
    shared = FACTORS[:, 0] + 10.0 * FACTORS[:, 1]
    codes = np.stack([shared, FACTORS[:, 2]], axis=1)
    disentangled, complete, informed = dci(codes, FACTORS, 0)
    # Weights 2 : 1; the first dimension has half its importance of either: 1 - log 2 / log 3.
    assert disentangled == pytest.approx((2 * (1 - np.log(2) / np.log(3)) + 1) / 3, abs=0.01)
    assert complete == pytest.approx(1.0, abs=0.01) and informed == pytest.approx(1.0)


@pytest.fixture(scope="module")
def drawn() -> DataSet:
    """Vectors that are their two factors, with noise, and the third of no account."""
    noise = np.random.default_rng(1).normal(0, 0.05, (len(FACTORS), 2))
    x = (FACTORS[:, :2] + noise).astype(np.float32)
    split = Split(x, factors=FACTORS.astype(np.int32))
    facts = Facts(factor_names=("a", "b", "c"))
    return DataSet("drawn", {"train": split, "test": split.head(600)}, facts=facts)


@pytest.mark.slow
def test_evaluator_measures_the_codes_of_a_model(drawn):
    model = ae_jax.fit(drawn, codec="ica", latent_dim=2)
    found = model.evaluate("test", [Disentanglement(votes=200)])
    codes = model.encode(drawn.splits["test"]).astype(float)
    factors = drawn.splits["test"].factors
    assert found["mig"] == pytest.approx(mutual_information_gap(codes, factors), abs=1e-6)
    assert found["sap"] == pytest.approx(attribute_gap(codes, factors, None), abs=1e-6)
    # Nothing tells the third factor: both dimensions matter as little to it.
    rows = np.array([[2 / 3, 0, 1 / 3], [0, 2 / 3, 1 / 3]])
    expected = 1 - stats.entropy(rows, axis=1).mean() / np.log(3)
    assert found["dci_disentanglement"] == pytest.approx(expected, abs=0.1)
    assert found["factor_vae_score"] > 0.5
    again = model.evaluate("test", [Disentanglement(votes=200)])
    assert again == found


def test_factors_that_are_measured_or_not_known_are_refused(drawn):
    x = drawn.splits["train"].x
    for factors in (x, np.where(x > 0, np.nan, 1.0)):
        split = Split(x, factors=factors)
        measured = DataSet("measured", {"train": split, "test": split})
        model = ae_jax.fit(measured, codec="pca", latent_dim=2)
        with pytest.raises(UserError, match="factors that are whole numbers"):
            model.evaluate("train", ["disentanglement"])


def test_examples_without_factors_are_refused(vector_set):
    model = ae_jax.fit(vector_set, codec="pca", latent_dim=2)
    with pytest.raises(UserError, match="needs the factors .* the data set shapes has"):
        model.evaluate("test", ["disentanglement"])


@pytest.mark.slow
def test_factors_that_never_differ_are_left_out(drawn):
    train = drawn.splits["train"]
    same = np.zeros((len(train), 1), np.int32)
    more, none = (
        DataSet("more", {"train": Split(train.x, factors=f), "test": Split(train.x, factors=f)})
        for f in (np.hstack([same, train.factors]), same)
    )
    found = [
        ae_jax.fit(one, codec="pca", latent_dim=2).evaluate("train", [Disentanglement(votes=100)])
        for one in (drawn, more)
    ]
    assert found[0]["mig"] == found[1]["mig"] and found[0]["sap"] == found[1]["sap"]
    with pytest.raises(UserError, match="two factors or more differ"):
        ae_jax.fit(none, codec="pca", latent_dim=2).evaluate("train", ["disentanglement"])


@pytest.mark.parametrize("factors", [FACTORS[:5], FACTORS[:, 0], FACTORS.astype(str)])
def test_factors_of_another_form_are_refused_with_the_data(factors, drawn):
    with pytest.raises(UserError, match="factors are numbers, a row for each"):
        DataSet("wrong", {"train": Split(drawn.splits["train"].x, factors=factors)})


def test_one_vote_is_refused():
    with pytest.raises(UserError, match="take two or more"):
        factor_vae_score(FACTORS + 0.0, FACTORS, rng(), votes=1)
