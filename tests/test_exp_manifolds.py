"""The learned plane of the 8x8 digits: what is said of the grid, against NumPy."""

import numpy as np
import pytest
from scipy.stats import norm

import ae_jax
from experiments import manifolds
from tests.smoke_runs import check_pictures, digit_rows, run_smoke


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("manifolds")
    return workdir, run_smoke(manifolds.main, workdir)


@pytest.mark.slow
def test_the_grid_is_decoded_from_quantiles_of_the_prior(smoke):
    workdir, results = smoke
    (row,) = results["tables"]["Manifolds"]
    model = ae_jax.load(workdir / "digits")
    place = norm.ppf((np.arange(20) + 0.5) / 20)
    z = np.array([[across, up] for up in place[::-1] for across in place])
    grid = model.decode(z, units="model").reshape(20, 20, -1).astype(np.float64)
    beside = np.concatenate(
        [
            np.square(grid[1:] - grid[:-1]).sum(axis=-1).ravel(),
            np.square(grid[:, 1:] - grid[:, :-1]).sum(axis=-1).ravel(),
        ]
    )
    flat = grid.reshape(400, -1)
    any_two = np.square(flat[:, None] - flat[None]).sum(axis=-1).mean()
    assert row["neighbours over any two"] == pytest.approx(beside.mean() / any_two, abs=2e-3)


@pytest.mark.slow
def test_errors_are_those_of_the_saved_model(smoke):
    workdir, results = smoke
    (row,) = results["tables"]["Manifolds"]
    x = digit_rows("test")
    made = (
        ae_jax.load(workdir / "digits")
        .reconstruct((16 * x).astype(np.uint8), units="model")
        .reshape(x.shape)
    )
    assert row["squared error"] == pytest.approx(np.square(made - x).sum(axis=1).mean(), abs=2e-3)
    assert results["claims"][0]["value"] == pytest.approx(
        row["squared error"] / row["PCA"], abs=2e-3
    )


def test_bounds_of_the_paper_are_shown_only_where_it_has_them():
    assert manifolds.published_bound("digits", 10**6) is None
    assert manifolds.published_bound("mnist", 10**6) is None  # figure 2 begins at three latents
    assert 0 < manifolds.published_bound("frey_face", 10**6) < 2000
    assert manifolds.published_bound("frey_face", 1) is None


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {"manifolds"})
