"""No result depends on where the origin of the data is, nor on their unit: against float64."""

import jax
import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.decomposition import sparse_encode
from sklearn.preprocessing import StandardScaler

from ae_jax.codecs import CODECS, Nmf, as_rows, mean_squared_error
from ae_jax.codecs.form import FORMS
from ae_jax.codecs.nmf_start import starting_atoms
from ae_jax.core.errors import UserError
from ae_jax.data import Split
from ae_jax.data.preprocess import PREPROCESSING, statistics_for

SLOW = pytest.mark.slow
KEY = jax.random.key(0)
NAMES = list(CODECS)
# Codecs of differences between examples: they move along with the data.
MOVING = ["ica", "kmeans", "pca", "probabilistic_pca", "spherical_mixture"]
OFFSETS = (1e3, 1e5, 1e7)
UNITS = (2.0**-33, 2.0**40)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """[300, 5] whole numbers of a few hundred, in three groups: exact in float32 up to 1.6e7."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 300, 0, 90], [400, 0, 0, 90, 0], [0, 500, 0, 0, 0]])
    spread = rng.laplace(size=(300, 5)) * [60, 50, 40, 20, 10]
    return np.round(np.abs(centres[rng.integers(0, 3, 300)] + spread)).astype(np.float32)


@pytest.fixture(scope="module")
def fits(x):
    """Each codec fitted to the data as they are, when a test first asks for it."""

    class Fits(dict):
        def __missing__(self, name):
            self[name] = fitted(name, x)
            return self[name]

    return Fits()


def fitted(name: str, x: np.ndarray, unit: float = 1.0):
    """A short fit; a penalty on codes is in the units of the data."""
    spec = CODECS.get(name)(3)
    if hasattr(spec, "max_iterations"):
        spec = spec.replace(max_iterations=15)
    if name == "sparse_coding":
        spec = spec.replace(penalty=20.0 * unit)
    return spec.fit(x, KEY)


def in_float64(codec, x: np.ndarray) -> float:
    """The mean squared error of the codes, in float64 arithmetic."""
    x, z = x.astype(np.float64), np.asarray(codec.encode(x), np.float64)
    if hasattr(codec, "relative"):
        atoms = np.asarray(codec.relative, np.float64) + np.asarray(codec.origin, np.float64)
        return np.square(x - z @ atoms).sum(axis=1).mean()
    offset = np.asarray(codec.offset, np.float64) + np.asarray(codec.rest, np.float64)
    return np.square(x - offset - z @ np.asarray(codec.atoms, np.float64)).sum(axis=1).mean()


@pytest.mark.slow_cases("kmeans-*", "spherical_mixture-1000.0", "spherical_mixture-100000.0")
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", MOVING)
def test_fits_move_along_with_the_origin(name, offset, fits, x):
    here, there = fits[name], fitted(name, (x + offset).astype(np.float32))
    np.testing.assert_allclose(there.history, here.history, rtol=1e-4)
    codes, moved = here.codec.encode(x), there.codec.encode(x + np.float32(offset))
    np.testing.assert_allclose(moved, codes, atol=2e-4 * np.abs(codes).max())
    mean = np.asarray(there.codec.offset if name not in FORMS or not hasattr(there.codec, "origin")
                      else there.codec.centres.mean(axis=0))  # fmt: skip
    assert np.abs(mean - offset).max() < 1000
    if FORMS[name].density:
        np.testing.assert_allclose(
            there.codec.log_prob(x + np.float32(offset)), here.codec.log_prob(x), atol=2e-3
        )


@pytest.mark.slow_cases("nmf-1000.0", "nmf-100000.0", "sparse_coding-1000.0")
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", NAMES)
def test_errors_are_those_of_float64_at_any_origin(name, offset, x):
    moved = (x + offset).astype(np.float32)
    if name == "sparse_coding" and offset > 1e4:
        with pytest.raises(UserError, match="times their spread.*scale them"):
            fitted(name, moved)
        return
    codec = fitted(name, moved).codec
    expected = in_float64(codec, moved)
    np.testing.assert_allclose(float(mean_squared_error(codec, moved)), expected, rtol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0.0, *OFFSETS])
def test_codes_of_nmf_are_those_of_least_squares_in_float64_at_any_origin(offset, x):
    moved = (x + offset).astype(np.float32)
    codec = CODECS.get("nmf")(3).fit(moved, KEY).codec
    atoms = np.asarray(codec.atoms, np.float64).T
    expected = np.mean([nnls(atoms, row)[1] ** 2 for row in moved.astype(np.float64)])
    assert in_float64(codec, moved) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4])
def test_sparse_codes_are_those_of_least_angles_in_float64(offset, x):
    moved = (x + offset).astype(np.float32)
    codec = CODECS.get("sparse_coding")(3, penalty=20.0).fit(moved, KEY).codec
    atoms, wide = np.asarray(codec.atoms, np.float64), moved.astype(np.float64)

    def objective(codes: np.ndarray) -> float:
        squares = 0.5 * np.square(wide - codes @ atoms).sum(axis=1)
        return (squares + 20.0 * np.abs(codes).sum(axis=1)).mean()

    oracle = objective(sparse_encode(wide, atoms, algorithm="lasso_lars", alpha=20.0))
    assert objective(np.asarray(codec.encode(moved), np.float64)) == pytest.approx(oracle, rel=1e-5)


@pytest.mark.parametrize("offset", [0.0, *OFFSETS])
def test_variances_are_those_of_float64_at_any_origin(offset, x):
    rng = np.random.default_rng(1)
    many = np.concatenate([x, np.round(rng.normal(size=(20_000, 5)) * [90, 70, 50, 30, 10])])
    many = (many + offset).astype(np.float32)
    expected = np.linalg.eigvalsh(np.cov(many.astype(np.float64).T))[::-1][:3]
    for solver in ("gram", "svd", "randomized"):
        spec = CODECS.get("pca")(3, solver=solver)
        codec = spec.fit(many, KEY).codec
        np.testing.assert_allclose(codec.explained_variance, expected, rtol=1e-4)
    parts = CODECS.get("pca")(3).fit_batches(np.array_split(many, 5)).codec
    np.testing.assert_allclose(parts.explained_variance, expected, rtol=1e-4)
    mean = np.asarray(codec.mean, np.float64) + np.asarray(codec.mean_rest, np.float64)
    np.testing.assert_allclose(mean, many.mean(axis=0, dtype=np.float64), atol=0.02)


@pytest.mark.parametrize("offset", OFFSETS)
def test_every_example_is_given_its_nearest_centre(offset, x):
    moved = (x + offset).astype(np.float32)
    codec = fitted("kmeans", moved).codec
    centres = np.asarray(codec.relative, np.float64) + np.asarray(codec.origin, np.float64)
    distances = np.square(moved.astype(np.float64)[:, None] - centres[None]).sum(axis=2)
    np.testing.assert_array_equal(codec.encode(moved).argmax(axis=1), distances.argmin(axis=1))


@pytest.mark.slow
def test_distances_keep_their_digits_where_clusters_are_small_and_far_apart():
    """Two pairs of clusters: between pairs 1, within a pair 1e-4, about each centre 1e-6."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [0, 1e-4], [1, 0], [1, 1e-4]])
    x = np.repeat(centres, 50, axis=0) + 1e-6 * rng.normal(size=(200, 2))
    fit = CODECS.get("kmeans")(4, tolerance=0.0).fit(x.astype(np.float32), KEY)
    assert np.bincount(np.asarray(fit.codec.assign(x)), minlength=4).tolist() == [50] * 4
    expected = in_float64(fit.codec, x.astype(np.float32))
    assert fit.history[-1] == pytest.approx(expected, rel=1e-3)
    assert float(fit.codec.variance) == pytest.approx(expected / 2, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", NAMES)
def test_fits_are_the_same_in_any_unit(name, unit, fits, x):
    here, there = fits[name], fitted(name, x * np.float32(unit), unit)
    expected = here.history
    if name in ("probabilistic_pca", "spherical_mixture"):
        expected = expected + 5 * np.log(unit)  # a density is per unit
    elif name != "ica":
        expected = expected * np.float64(unit) ** 2
    np.testing.assert_allclose(there.history, expected, rtol=1e-5)
    assert there.converged == here.converged
    again = np.asarray(there.codec.decode(there.codec.encode(x * np.float32(unit))))
    known = np.asarray(here.codec.decode(here.codec.encode(x)))
    np.testing.assert_allclose(again / unit, known, atol=1e-3 * np.abs(known).max())
    if hasattr(there.codec, "explained_variance_ratio"):
        np.testing.assert_allclose(
            there.codec.explained_variance_ratio, here.codec.explained_variance_ratio, rtol=1e-5
        )


@pytest.mark.parametrize("unit", [1e-20, 1e17, 1e20])
@pytest.mark.parametrize("name", NAMES)
def test_units_whose_squares_float32_has_not_are_refused(name, unit, x):
    with pytest.raises(UserError, match="scale them"):
        fitted(name, (x * unit).astype(np.float32), unit)


FEW_DECADES = (-14, -5, 3, 12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("decades", [FEW_DECADES, pytest.param(range(-20, 21), marks=SLOW)],
                         ids=["few", "all"])  # fmt: skip
def test_in_units_of_any_decade_fits_are_the_same_or_refused(decades, name, fits, x):
    """Other than powers of two, units round: the same to three digits."""
    here, same = fits[name], []
    known = np.asarray(here.codec.decode(here.codec.encode(x)))
    for decade in decades:
        scaled = (x.astype(np.float64) * 10.0**decade).astype(np.float32)
        try:
            there = fitted(name, scaled, 10.0**decade)
        except UserError as error:
            assert "scale them" in str(error) and not -14 <= decade <= 12
            continue
        again = np.asarray(there.codec.decode(there.codec.encode(scaled)), np.float64)
        np.testing.assert_allclose(again / 10.0**decade, known, atol=1e-3 * np.abs(known).max())
        shares = getattr(there.codec, "explained_variance_ratio", 1.0)
        assert np.isfinite(shares).all() and np.isfinite(there.history).all()
        same.append(decade)
    assert set(FEW_DECADES) <= set(same)


@pytest.mark.slow_cases("nndsvda")
@pytest.mark.parametrize("init", ["nndsvda", "random"])
def test_nmf_starts_from_the_same_atoms_in_any_unit(init, x):
    atoms = starting_atoms(init, as_rows(x), KEY, 3)
    moved = starting_atoms(init, as_rows(10 * x), KEY, 3)
    np.testing.assert_allclose(moved, np.sqrt(10.0) * atoms, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("divergence", ["frobenius", "kullback_leibler"])
def test_the_objective_of_nmf_is_that_of_its_residuals_where_the_mean_is_large(divergence, x):
    moved = (x + 60_000).astype(np.float32)
    spec = Nmf(3, divergence=divergence, max_iterations=100, encode_iterations=3000)
    fit = spec.fit(moved, KEY)
    made = np.asarray(fit.codec.encode(moved), np.float64) @ np.asarray(fit.codec.atoms, np.float64)
    wanted = moved.astype(np.float64)
    errors = 0.5 * np.square(wanted - made)
    if divergence == "kullback_leibler":
        errors = wanted * np.log(wanted / made) - wanted + made
    assert fit.history[-1] == pytest.approx(errors.sum(axis=1).mean(), rel=0.05)
    assert np.all(np.diff(fit.history) <= 1e-3 * fit.history[:-1])


@pytest.mark.slow
def test_data_that_never_vary_are_no_trouble():
    x = np.full((30, 6), 0.1, np.float32)
    for name in ("kmeans", "spherical_mixture"):
        fit = CODECS.get(name)(3).fit(x, KEY)
        assert np.isfinite(fit.history).all()
        assert np.isfinite(fit.codec.log_prob(x)).all()
        np.testing.assert_allclose(fit.codec.decode(fit.codec.encode(x)), x, rtol=1e-6)
    codec = CODECS.get("pca")(2).fit(x, KEY).codec
    np.testing.assert_array_equal(codec.explained_variance_ratio, 0)
    np.testing.assert_array_equal(codec.decode(codec.encode(x)), x)


@pytest.mark.parametrize("offset", [0.0, *OFFSETS])
@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_standardisation_is_that_of_float64_at_any_origin_and_unit(offset, unit, x):
    raw = ((x.astype(np.float64) + offset) * unit).astype(np.float32)
    preprocess = PREPROCESSING.get("standardization")
    statistics = statistics_for(preprocess, Split(raw), None)
    expected = StandardScaler().fit_transform(raw.astype(np.float64))
    got = preprocess(raw, statistics, KEY, np.arange(len(raw)))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_rows_of_whole_numbers_are_those_of_their_floats(x):
    rows = as_rows(x.astype(np.int64))
    np.testing.assert_array_equal(rows.all(), x)
    with pytest.raises(UserError, match="cannot tell them apart"):
        as_rows(x.astype(np.int64) + 2**40)
