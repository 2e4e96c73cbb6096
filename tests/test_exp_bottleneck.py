"""Codes of several sizes on the 8x8 digits, against NumPy."""

import numpy as np
import pytest

import ae_jax
from experiments import bottleneck, bottleneck_layers, bottleneck_models
from experiments.published import pca_errors
from tests.smoke_runs import check_pictures, digit_rows, run_smoke, svd_error

SIZES = "Test error by code size"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("bottleneck")
    return workdir, run_smoke(bottleneck.main, workdir)


@pytest.mark.slow
def test_errors_of_pca_are_those_of_the_svd(smoke):
    _, results = smoke
    train, test = digit_rows("train"), digit_rows("test")
    for row in results["tables"][SIZES]:
        assert row["PCA"] == pytest.approx(svd_error(train, test, row["code size"]), rel=1e-4)


@pytest.mark.slow
def test_errors_of_the_autoencoder_are_those_of_its_reconstructions(smoke):
    workdir, results = smoke
    test = digit_rows("test")
    for row in results["tables"][SIZES]:
        model = ae_jax.load(workdir / bottleneck_models.name_of(row["code size"], (32,)))
        made = model.reconstruct((16 * test).astype(np.uint8), units="model").reshape(test.shape)
        error = np.square(made - test).sum(axis=1).mean()
        assert row["autoencoder"] == pytest.approx(error, abs=2e-4)
        assert row["per pixel"] == pytest.approx(error / 64, abs=1e-5)


@pytest.mark.slow
def test_training_helps_and_a_larger_code_helps_more(smoke):
    _, results = smoke
    large, small = results["tables"][SIZES]
    spread = np.square(digit_rows("test") - digit_rows("train").mean(axis=0)).sum(axis=1).mean()
    assert large["autoencoder"] < small["autoencoder"] < spread


@pytest.mark.slow
def test_verdicts_follow_from_the_numbers(smoke):
    _, results = smoke
    *sizes, deeper, loss = results["claims"]
    for claim, row in zip(sizes, results["tables"][SIZES], strict=True):
        assert claim["value"] == pytest.approx(row["PCA - autoencoder"], abs=1e-3)
        assert claim["target"] == pytest.approx(2 * row["±"], abs=2e-3)
        assert claim["holds"] == (claim["value"] >= claim["target"])
    rows = next(v for k, v in results["tables"].items() if "layers" in k)
    few, many, other = (row["test"] for row in rows)
    assert deeper["value"] == pytest.approx(few - many, abs=0.011)
    assert loss["value"] == pytest.approx(other - few, abs=0.011)


@pytest.mark.slow
def test_the_step_size_of_more_layers_is_that_with_the_least_error_on_held_out_digits(smoke):
    workdir, results = smoke
    rows = next(v for k, v in results["tables"].items() if "layers" in k)
    for row in rows:
        loss = row["trained by"].replace(" ", "_")
        folder = workdir / f"layers/hidden={row['hidden layers']}/loss={loss}"
        errors = {
            rate: ae_jax.load(folder / f"rate={rate:g}").evaluate("valid")[
                "squared_error_per_example"
            ]
            for rate in bottleneck_layers.RATES
        }
        assert row["step size"].split()[0] == f"{min(errors, key=errors.get):g}"
        assert row["held out"] == pytest.approx(min(errors.values()), abs=0.006)


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {"reconstructions", "error_by_size", "optimisers"})


@pytest.mark.parametrize(("factor", "holds"), [(1.0, True), (1.0005, True), (0.98, False)])
def test_pca_is_held_to_the_published_errors(factor, holds):
    rows = [
        {"code size": size, "PCA per pixel": value if size != 8 else factor * value}
        for size, value in pca_errors().items()
    ]
    assert bottleneck.pca_claim(rows).holds is holds


@pytest.mark.slow
def test_the_figure_shows_the_better_step_size(smoke):
    workdir, results = smoke
    rows = next(v for k, v in results["tables"].items() if "Optimisers" in k)
    shown = {}
    for row in rows:
        if row["optimiser"] not in shown or row["train"] < shown[row["optimiser"]]["train"]:
            shown[row["optimiser"]] = row
    models = {
        f"optimiser={row['optimiser']}/step={row['step size']:g}": ae_jax.load(
            workdir / f"optimiser={row['optimiser']}/step={row['step size']:g}"
        )
        for row in rows
    }
    labels = {f"{name}, step size {row['step size']:g}" for name, row in shown.items()}
    assert set(bottleneck_models.best_curves(models)) == labels
