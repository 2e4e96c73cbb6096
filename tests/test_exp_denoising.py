"""Denoising and completion of the 8x8 digits, and the linear filters against least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.data import load
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.data.missing import observed_entries
from ae_jax.numerics.noise import example_keys
from experiments import denoising, denoising_models
from experiments.linear_filters import (
    Moments,
    linear_completion,
    moments_of,
    wiener_filter,
)
from tests.smoke_runs import check_pictures, digit_rows, run_smoke

PSNR = "PSNR of corrupted and cleaned test digits"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("denoising")
    return workdir, run_smoke(denoising.main, workdir)


def mixed(count: int) -> np.ndarray:
    """Correlated values in [0, 1], [N, 5]."""
    rng = np.random.default_rng(0)
    return np.clip(0.5 + 0.15 * rng.normal(size=(count, 5)) @ rng.normal(size=(5, 5)), 0, 1)


@pytest.mark.slow_cases("gaussian-0.4", "salt_and_pepper-0.3")
@pytest.mark.parametrize(
    ("corruption", "level"), [("gaussian", 0.4), ("masking", 0.3), ("salt_and_pepper", 0.3)]
)
def test_the_filter_is_least_squares_on_many_corrupted_examples(corruption, level):
    x = mixed(100_000)
    keys = example_keys(jax.random.key(0), jnp.arange(len(x)))
    y = np.asarray(CORRUPTIONS.get(corruption)(keys, jnp.asarray(x, jnp.float32), level))
    found = wiener_filter(moments_of(x), corruption, level)
    weights = np.linalg.lstsq(np.c_[y, np.ones(len(y))], x, rcond=None)[0]
    np.testing.assert_allclose(found.weights, weights[:5], atol=0.02)
    np.testing.assert_allclose(found.offset, weights[5], atol=0.02)
    least = np.square(np.c_[y, np.ones(len(y))] @ weights - x).mean()
    assert np.square(found(y) - x).mean() == pytest.approx(least, rel=1e-3)


def test_a_corruption_without_known_moments_is_refused():
    with pytest.raises(UserError, match="no linear filter"):
        wiener_filter(Moments(np.zeros(2), np.eye(2)), "blur", 0.1)


def test_completion_is_the_conditional_mean_of_a_gaussian():
    covariance = np.array([[2.0, 0.8, 0.3], [0.8, 1.0, 0.2], [0.3, 0.2, 0.5]])
    clean = Moments(np.array([1.0, -1.0, 0.5]), covariance)
    x = np.array([[3.0, np.nan, np.nan], [np.nan, 0.5, 2.0], [1.0, 2.0, 3.0]])
    filled = linear_completion(clean, x, ~np.isnan(x))
    np.testing.assert_allclose(filled[0, 1:], [-1 + 0.8 / 2 * 2, 0.5 + 0.3 / 2 * 2], rtol=1e-5)
    among = covariance[1:, 1:]
    expected = 1.0 + np.linalg.solve(among, covariance[1:, 0]) @ [1.5, 1.5]
    assert filled[1, 0] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(filled[2], x[2])


@pytest.mark.slow
def test_psnr_of_the_table_is_that_of_the_saved_model(smoke):
    workdir, results = smoke
    row = next(r for r in results["tables"][PSNR] if r["corruption"] == "masking")
    model = ae_jax.load(workdir / "masking" / f"level={row['level']:g}")
    x, split = digit_rows("test"), load("digits", protocol="full").splits["test"]
    keys = example_keys(
        jax.random.key(denoising_models.NOISE_SEED), split.first_id + jnp.arange(len(x))
    )
    seen = CORRUPTIONS.get("masking")(keys, jnp.asarray(x, jnp.float32), row["level"])

    def decibels(other) -> float:
        errors = np.square(np.asarray(other).reshape(x.shape) - x).mean(axis=1)
        return float(np.mean(-10 * np.log10(errors)))

    assert row["corrupted"] == pytest.approx(decibels(seen), abs=2e-3)
    # What is masked is 0, and grey levels stay sixteenths: the raw data have a place for them.
    made = model.reconstruct(np.round(16 * np.asarray(seen)).astype(np.uint8), units="model")
    assert row["autoencoder"] == pytest.approx(decibels(made), abs=2e-3)


@pytest.mark.slow
def test_the_filter_is_no_worse_than_leaving_the_noise(smoke):
    for row in smoke[1]["tables"][PSNR]:
        assert row["clipped"] > row["linear filter"] > row["corrupted"]


@pytest.mark.slow
def test_missing_entries_are_scored_on_what_is_missing(smoke):
    workdir, results = smoke
    splits = load("digits", protocol="full").splits
    part = splits["test"]
    x = part.x / np.float32(16)
    for row in results["tables"]["Missing entries"]:
        pattern = row["missing"]
        ids = part.first_id + jnp.arange(len(part))
        hidden = ~np.asarray(observed_entries(jnp.asarray(x), ids, pattern, row["share"]))
        model = ae_jax.load(workdir / "missing" / pattern)
        # The evaluator fills in from what is seen: 0 stands where nothing is.
        made = model.reconstruct(np.where(hidden, 0, part.x), units="model")
        error = np.square(made - x)[hidden].mean()
        assert row["autoencoder"] == pytest.approx(error, abs=2e-5)
        mean = splits["train"].x.mean(axis=0) / 16
        assert row["mean image"] == pytest.approx(np.square(mean - x)[hidden].mean(), abs=2e-5)
        assert row["clipped"] <= row["linear estimate"] < row["mean image"]


@pytest.mark.slow
def test_verdicts_follow_from_the_numbers(smoke):
    tables = smoke[1]["tables"]
    gain = denoising_models.GAIN
    expected = [row[gain] >= 2 * row["±"] for row in tables[PSNR]]
    expected += [row[gain] <= -2 * row["±"] for row in tables["Missing entries"]]
    for row in (*tables[PSNR], *tables["Missing entries"]):
        assert row[gain] == pytest.approx(row["autoencoder"] - row["clipped"], abs=2e-3)
    assert [claim["holds"] for claim in smoke[1]["claims"]] == expected


@pytest.mark.slow
def test_figures(smoke):
    cleaned = {f"cleaned_{name}" for name in denoising.LEVELS}
    filled = {f"filled_{pattern}" for pattern in denoising_models.MISSING}
    check_pictures(smoke[0], {"psnr"} | cleaned | filled)
