"""The linear VAE against its closed form, by NumPy and scipy."""

import numpy as np
import pytest
from scipy import stats

from ae_jax.data import load as load_data
from experiments import linear_vae
from experiments import linear_vae_theory as theory
from experiments.linear_vae_judged import claims
from tests.smoke_runs import check_pictures, digit_rows, run_smoke

LEARNED, FIXED = "Noise variance learned", "Noise variance fixed"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("linear_vae")
    return workdir, run_smoke(linear_vae.main, workdir)


def spectrum() -> np.ndarray:
    x = digit_rows("train")
    return np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2 / len(x)


@pytest.mark.slow
def test_the_optimum_is_that_of_tipping_and_bishop(smoke):
    x, test, values = digit_rows("train"), digit_rows("test"), spectrum()
    for row in smoke[1]["tables"][LEARNED]:
        size = row["latents"]
        noise = values[size:].mean()
        assert row["noise variance, PPCA"] == pytest.approx(noise, abs=2e-6)
        axes = np.linalg.svd(x - x.mean(axis=0))[2][:size]
        covariance = axes.T @ np.diag(values[:size] - noise) @ axes + noise * np.eye(x.shape[1])
        normal = stats.multivariate_normal(x.mean(axis=0), covariance)
        for split, data in (("train", x), ("test", test)):
            expected = normal.logpdf(data).mean()
            assert row[f"log p(x), PPCA, {split}"] == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_the_bound_is_below_the_exact_likelihood_and_that_below_the_optimum(smoke):
    for row in smoke[1]["tables"][LEARNED]:
        assert row["bound, train"] <= row["log p(x), train"] + 3 * row["±"]
        assert row["log p(x), train"] <= row["log p(x), PPCA, train"] + 0.01
        lacks = row["log p(x), PPCA, train"] - row["bound, train"]
        assert row["bound lacks"] == pytest.approx(lacks, abs=0.02)
        # Near the optimum: the two sides of the claims are about the same thing.
        assert row["bound lacks"] < 3.0
        assert row["noise variance"] == pytest.approx(row["noise variance, PPCA"], rel=0.1)


@pytest.mark.slow
def test_eigenvalues_above_the_noise_are_counted(smoke):
    values = spectrum()
    for row in smoke[1]["tables"][FIXED]:
        assert row["eigenvalues above it"] == (values > row["fixed noise variance"]).sum()
    found = theory.eigenvalues(digit_rows("train"))
    np.testing.assert_allclose(found[:20], values[:20], rtol=1e-5)


def test_variances_of_means_are_those_of_the_exact_posterior():
    """Of probabilistic PCA at a fixed noise, by its posterior on data of its own covariance."""
    values, noise = np.array([3.0, 1.0, 0.4, 0.05]), 0.3
    alive = values > noise
    w = np.diag(np.sqrt(np.maximum(values - noise, 0)))
    gain = np.linalg.solve(w.T @ w + noise * np.eye(4), w.T)
    expected = np.diag(gain @ np.diag(values) @ gain.T)
    found = theory.variances_of_means(values, noise, 4)
    np.testing.assert_allclose(found[alive], expected[alive])
    assert (found[~alive] == 0).all() and theory.alive(values, noise) == 3


@pytest.mark.slow
def test_figures_and_a_second_start(smoke):
    check_pictures(smoke[0], {"gap", "alive"})
    before = {file: file.read_bytes() for file in smoke[0].rglob("metrics.jsonl")}
    assert run_smoke(linear_vae.main, smoke[0])["claims"] == []
    assert {file: file.read_bytes() for file in smoke[0].rglob("metrics.jsonl")} == before


def test_judgements_by_hand():
    learned = {
        "latents": 2,
        "noise variance": 0.0565,
        "log p(x), PPCA, train": 12.43,
        "bound lacks": 0.9,
        "±": 0.01,
    }
    fixed = {"fixed noise variance": 0.1, "eigenvalues above it": 69, "alive after training": 66}
    assert [c.holds for c in claims("mnist", [learned], [fixed])] == [True] * 5
    worse = learned | {"noise variance": 0.0567, "bound lacks": 1.1}
    fewer = fixed | {"alive after training": 65, "eigenvalues above it": 68}
    verdicts = [c.holds for c in claims("mnist", [worse], [fewer])]
    assert verdicts == [True, False, False, False, False]
    assert load_data("digits", protocol="full").max_value == 16
