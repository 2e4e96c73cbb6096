"""Preprocessing against its definition, numpy and scikit-learn; noise that belongs to examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.preprocessing import StandardScaler

from ae_jax.data import Split
from ae_jax.data.preprocess import PREPROCESSING, Statistics, statistics_for

LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
BYTES = Statistics(255.0)
NOISY = [name for name, entry in PREPROCESSING.items() if entry.noise != "none"]


def _apply(name, raw, statistics=BYTES, seed=0, ids=None):
    ids = jnp.arange(len(raw)) if ids is None else jnp.asarray(ids)
    out = PREPROCESSING.get(name)(jnp.asarray(raw), statistics, jax.random.key(seed), ids)
    assert out.shape == raw.shape
    assert out.dtype == jnp.float32
    return np.asarray(out)


def test_grey_divides_by_the_largest_value():
    np.testing.assert_allclose(_apply("grey", LEVELS), LEVELS / 255, rtol=1e-6)
    np.testing.assert_allclose(
        _apply("grey", LEVELS[:, :1, :], Statistics(16.0)), LEVELS[:, :1] / 16, rtol=1e-6
    )


def test_threshold_cuts_at_half():
    np.testing.assert_array_equal(_apply("threshold", LEVELS), LEVELS >= 128)
    binary = np.array([[0, 1, 1]], np.uint8)
    np.testing.assert_array_equal(_apply("threshold", binary, Statistics(1.0)), binary)


def test_unit_sum_divides_each_example_by_its_own_sum():
    x = np.random.default_rng(0).exponential(50, (4, 3, 2, 1)).astype(np.float32)
    x[2] = 0  # which stays as it is
    out = _apply("unit_sum", x, Statistics(None))
    for row, example in zip(out, x, strict=True):
        np.testing.assert_allclose(row, example / (example.sum() or 1.0), rtol=1e-6)


def test_identity_keeps_values():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(_apply("identity", x, Statistics(None)), x)


@pytest.mark.parametrize("name", ["dynamic_binarization", "fixed_binarization"])
def test_binarization_is_one_as_often_as_its_grey_level_says(name):
    count = 400
    out = _apply(name, np.repeat(LEVELS, count, axis=0))
    assert set(np.unique(out)) == {0.0, 1.0}
    p = LEVELS[0] / 255
    np.testing.assert_array_equal(out[:, p == 0], 0.0)
    np.testing.assert_array_equal(out[:, p == 1], 1.0)
    inner = (p > 0) & (p < 1)
    mean, p = out.mean(axis=0)[inner], p[inner]
    z = (mean - p) / np.sqrt(p * (1 - p) / count)
    assert np.abs(z).max() < 4.5
    assert abs(z.mean()) < 4 / np.sqrt(z.size)


@pytest.mark.slow
def test_binary_data_survive_binarization():
    binary = np.random.default_rng(0).integers(0, 2, (5, 7)).astype(np.uint8)
    for name in ("dynamic_binarization", "fixed_binarization"):
        np.testing.assert_array_equal(_apply(name, binary, Statistics(1.0)), binary)


def test_dequantization_spreads_each_level_evenly_over_its_bin():
    out = _apply("dequantization", np.repeat(LEVELS, 20, axis=0))
    assert out.min() >= 0
    assert out.max() < 1
    within = out.astype(np.float64) * 256 - LEVELS
    assert within.min() >= 0
    # The top of a bin may round to the next one's start, by an ulp of float32.
    assert within.max() <= 1 + 256 * 2**-23
    assert stats.kstest(within.ravel(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_standardization_is_scikit_learns(dtype):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (50, 6)).astype(dtype)
    x[:, 2] = 17  # a constant column is centred and not scaled
    statistics = statistics_for(PREPROCESSING.get("standardization"), Split(x), 255.0)
    expected = StandardScaler().fit_transform(x.astype(np.float64))
    actual = _apply("standardization", x, statistics)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(actual[:, 2], 0.0)


@pytest.mark.parametrize("name", list(PREPROCESSING))
def test_statistics_hold_what_is_needed(name):
    entry = PREPROCESSING.get(name)
    statistics = statistics_for(entry, Split(np.ones((3, 2), np.float32)), 1.0)
    assert statistics.max_value == 1.0
    assert (statistics.mean is None) == (statistics.scale is None) == (entry.needs != "mean")


@pytest.mark.slow_cases("dequantization")
@pytest.mark.parametrize("name", NOISY)
def test_noise_belongs_to_the_example_wherever_it_stands(name):
    raw = np.random.default_rng(2).integers(60, 200, (6, 8, 8, 1)).astype(np.uint8)
    ids = np.array([3, 14, 15, 92, 65, 35])
    out = _apply(name, raw, ids=ids)
    order = [4, 0, 2]
    np.testing.assert_array_equal(_apply(name, raw[order], ids=ids[order]), out[order])
    # Equal images with different ids meet different noise.
    twins = _apply(name, raw[[0, 0]], ids=[1, 2])
    assert (twins[0] != twins[1]).any()


@pytest.mark.parametrize("name", NOISY)
def test_fresh_noise_changes_with_the_key_and_fixed_noise_does_not(name):
    raw = np.full((2, 8, 8, 1), 120, np.uint8)
    same = (_apply(name, raw, seed=0) == _apply(name, raw, seed=1)).all()
    assert same == (PREPROCESSING.get(name).noise == "fixed")


def test_roots_and_logarithms_are_of_shares_of_the_sum():
    x = np.random.default_rng(0).exponential(1.0, (4, 5, 5, 1)).astype(np.float32)
    x[0] = 0.0  # stays as it is
    shares = x.astype(np.float64) / np.maximum(x.sum(axis=(1, 2, 3), keepdims=True), 1e-30)
    roots = np.asarray(_apply("unit_sum_sqrt", x, Statistics(None)))
    np.testing.assert_allclose(roots, np.sqrt(shares), rtol=1e-5)
    np.testing.assert_allclose(np.square(roots).sum(axis=(1, 2, 3)), [0, 1, 1, 1], rtol=1e-5)
    logs = _apply("unit_sum_log", x, Statistics(None))
    np.testing.assert_allclose(logs, np.log(1 + 1000 * shares), rtol=1e-5)


@pytest.mark.parametrize("name", [n for n, p in PREPROCESSING.items() if p.noise == "none"])
def test_what_is_restored_is_what_was_given(name):
    """But for thresholds, which lose the levels."""
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 256, (20, 6)).astype(np.float32) + 1000.0 * (name == "standardization")
    preprocess = PREPROCESSING.get(name)
    statistics = statistics_for(preprocess, Split(raw), 255.0)
    inputs = preprocess(jnp.asarray(raw), statistics, jax.random.key(0), jnp.arange(20))
    back = preprocess.restored(np.asarray(inputs), statistics, raw)
    expected = 255.0 * (raw > 127.5) if name == "threshold" else raw
    np.testing.assert_allclose(back, expected, rtol=2e-5, atol=1e-3)


def test_binary_pixels_are_restored_as_the_grey_levels_that_they_are_drawn_from():
    raw = np.full((2000, 3), 51.0, np.float32)
    for name in ("dynamic_binarization", "fixed_binarization", "dequantization"):
        preprocess = PREPROCESSING.get(name)
        statistics = statistics_for(preprocess, Split(raw), 255.0)
        inputs = preprocess(jnp.asarray(raw), statistics, jax.random.key(0), jnp.arange(2000))
        back = preprocess.restored(np.asarray(inputs), statistics)
        assert abs(back.mean() - 51.0) < 6.0, name
