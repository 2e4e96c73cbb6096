"""What every codec promises, over the registry: the form's constraints, and how it runs."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compile_counts import compilations
from sklearn.datasets import load_digits

from ae_jax.codecs import CODECS, Codec, as_rows
from ae_jax.codecs.form import FORMS, markdown
from ae_jax.codecs.iterate import iterate
from ae_jax.core.errors import UserError

KEY = jax.random.key(0)
NAMES = list(CODECS)
LATENT_DIM = 6

# Other ways to fit a codec, beside its defaults: the same promises hold.
VARIANTS = [(name, {}) for name in NAMES] + [
    ("pca", {"whiten": True}),
    ("pca", {"solver": "gram"}),
    ("pca", {"solver": "randomized"}),
    ("kmeans", {"batch_size": 32}),
    ("nmf", {"divergence": "kullback_leibler"}),
    ("ica", {"contrast": "exp"}),
    ("sparse_coding", {"sparsity": "omp", "num_nonzeros": 3}),
    ("sparse_coding", {"sparsity": "l1_positive", "solver": "fista"}),
    ("sparse_coding", {"batch_size": 50}),
]


# Of iterations that take long to compile; their codes have oracles in tests of their codecs.
OTHER_FITS = (
    "nmf-kullback_leibler",
    "sparse_coding-omp-3",
    "sparse_coding-l1_positive-fista",
    "sparse_coding-50",
)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return load_digits().data.astype(np.float32)[:150] / 16


@pytest.fixture(scope="module")
def fits(x):
    """Each variant fitted once, when a test first asks for it by its place."""

    class Fits(dict):
        def __missing__(self, index):
            self[index] = _spec(*VARIANTS[index]).fit(x, KEY)
            return self[index]

    return Fits()


def _spec(name, options):
    spec = CODECS.get(name)(LATENT_DIM, **options)
    return spec.replace(max_iterations=25) if hasattr(spec, "max_iterations") else spec


def _over_variants(function):
    names = [f"{name}-{'-'.join(map(str, options.values()))}" for name, options in VARIANTS]
    cases = pytest.mark.parametrize("index", range(len(VARIANTS)), ids=names)
    return pytest.mark.slow_cases(*OTHER_FITS)(cases(function))


def _off_diagonal(matrix) -> float:
    matrix = np.asarray(matrix, np.float64)
    return np.abs(matrix - np.diag(np.diag(matrix))).max() / np.abs(np.diag(matrix)).max()


def _is_sparse(codes, variant) -> bool:
    if variant[1].get("sparsity") == "omp":
        return bool(((codes != 0).sum(axis=1) == variant[1]["num_nonzeros"]).all())
    return (codes == 0).mean() > 0.1 and (codes != 0).any()


CONSTRAINTS = {
    "orthogonal atoms": lambda atoms, codes, variant: _off_diagonal(atoms @ atoms.T) < 1e-4,
    "non-negative atoms": lambda atoms, codes, variant: not np.signbit(atoms).any(),
    "unit atoms": lambda atoms, codes, variant: np.allclose(np.linalg.norm(atoms, axis=1), 1, 1e-5),
    "decorrelated codes": lambda atoms, codes, variant: _off_diagonal(np.cov(codes.T)) < 1e-3,
    "unit variance codes": lambda atoms, codes, variant: np.allclose(
        codes.var(axis=0, ddof=1), 1, 1e-3
    ),
    "one-hot codes": lambda atoms, codes, variant: (
        np.isin(codes, (0, 1)).all() and (codes.sum(axis=1) == 1).all()
    ),
    "codes that sum to one": lambda atoms, codes, variant: np.allclose(
        codes.sum(axis=1), 1, atol=1e-5
    ),
    "non-negative codes": lambda atoms, codes, variant: not np.signbit(codes).any(),
    "sparse codes": lambda atoms, codes, variant: _is_sparse(codes, variant),
}


def test_the_table_has_a_row_for_every_codec():
    assert set(FORMS) == set(CODECS)
    assert {c for form in FORMS.values() for c in form.constraints} == set(CONSTRAINTS)
    table = markdown()
    assert table.count("\n") == len(FORMS) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()} == {6}


@pytest.mark.slow_cases("kmeans-32", "spherical_mixture-", "sparse_coding-", "kmeans-", "nmf-")
@_over_variants
def test_constraints_hold(index, fits, x):
    codec = fits[index].codec
    atoms, codes = np.asarray(codec.atoms), np.asarray(codec.encode(x))
    for constraint in FORMS[VARIANTS[index][0]].constraints:
        assert CONSTRAINTS[constraint](atoms, codes, VARIANTS[index]), constraint


def test_constraints_can_fail():
    """Random atoms and codes violate every one."""
    rng = np.random.default_rng(0)
    atoms, codes = rng.normal(size=(6, 20)), 3 * rng.normal(size=(90, 6)) @ rng.normal(size=(6, 6))
    for name, holds in CONSTRAINTS.items():
        assert not holds(atoms, codes, ("none", {})), name


@pytest.mark.slow_cases("kmeans-", "nmf-")
@_over_variants
def test_shapes_and_the_linear_form(index, fits, x):
    codec = fits[index].codec
    z = codec.encode(x)
    assert z.shape == (len(x), LATENT_DIM) and codec.atoms.shape == (LATENT_DIM, x.shape[1])
    expected = np.asarray(z) @ np.asarray(codec.atoms) + np.asarray(codec.offset)
    np.testing.assert_allclose(codec.decode(z), expected, atol=1e-4)
    stacked = codec.decode(jnp.stack([z, 2 * z]))
    np.testing.assert_allclose(stacked[0], codec.decode(z), atol=1e-5)
    assert stacked.shape == (2, *x.shape)


@pytest.mark.slow_cases("kmeans-", "nmf-")
@_over_variants
def test_codes_do_not_depend_on_the_batch_nor_on_compilation(index, fits, x):
    codec = fits[index].codec
    whole = np.asarray(codec.encode(x[:21]))
    parts = np.concatenate([codec.encode(x[i : i + 7]) for i in range(0, 21, 7)])
    compiled = jax.jit(lambda codec, x: codec.encode(x))(codec, x[:21])
    scale = np.abs(whole).max()
    np.testing.assert_allclose(parts, whole, atol=2e-4 * scale)
    np.testing.assert_allclose(compiled, whole, atol=2e-4 * scale)


@_over_variants
def test_a_fit_is_decided_by_its_key(index, fits, x):
    again = _spec(*VARIANTS[index]).fit(x, KEY)
    for a, b in zip(jax.tree.leaves(fits[index].codec), jax.tree.leaves(again.codec), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(fits[index].history, again.history)


@_over_variants
def test_history_is_one_finite_number_an_iteration(index, fits):
    fit = fits[index]
    assert fit.history.shape == (fit.iterations,) and np.isfinite(fit.history).all()
    assert fit.history[-1] <= fit.history[0]
    assert isinstance(fit.converged, bool)


@_over_variants
def test_a_blank_codec_has_the_structure_of_a_fitted_one(index, fits, x):
    fitted, blank = fits[index].codec, _spec(*VARIANTS[index]).blank(x.shape[1])
    assert isinstance(fitted, Codec)
    assert jax.tree.structure(fitted) == jax.tree.structure(blank)
    describe = [[(a.shape, a.dtype) for a in jax.tree.leaves(tree)] for tree in (fitted, blank)]
    assert describe[0] == describe[1]


@pytest.mark.slow_cases("ica-exp", "nmf-", "sparse_coding-")
@_over_variants
def test_progress_is_told_and_changes_nothing(index, fits, x):
    seen = []
    fit = _spec(*VARIANTS[index]).fit(x, KEY, progress=lambda *said: seen.append(said))
    np.testing.assert_array_equal(fit.history, fits[index].history)
    if len(fit.history) > 1:
        assert seen[-1][0] == fit.iterations
        assert all(said[2] == fit.history[said[0] - 1] for said in seen)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_data_to_one_compiled_program(name, x):
    spec = _spec(name, {})
    numbers = {
        field.name: getattr(spec, field.name) * 0.5
        for field in dataclasses.fields(spec)
        if isinstance(getattr(spec, field.name), float)
    }
    spec.fit(x, KEY)
    other = jax.random.key(1)
    with compilations() as counts:
        spec.replace(**numbers).fit(x, other)
    assert not counts


@pytest.mark.slow_cases("kmeans")
@pytest.mark.parametrize("name", NAMES)
def test_densities_are_promised_and_normalised(name, fits, x):
    codec = fits[NAMES.index(name)].codec
    for method in ("log_prob", "posterior", "prior"):
        assert FORMS[name].density == hasattr(codec, method)
    if FORMS[name].density:
        assert codec.log_prob(x).shape == (len(x),)
        assert codec.posterior(x).mean().shape == (len(x), LATENT_DIM)
        assert codec.prior.sample(jax.random.split(KEY, 5), 1).shape == (1, 5, LATENT_DIM)


@pytest.mark.parametrize("name", NAMES)
def test_data_that_are_not_finite_are_refused(name, x):
    for value in (np.nan, np.inf):
        bad = x.copy()
        bad[3, 3] = value
        with pytest.raises(UserError, match="NaN or infinite|infinite in float32"):
            _spec(name, {}).fit(bad, KEY)


def test_blocks_cover_every_row_once(monkeypatch, x):
    monkeypatch.setattr("ae_jax.codecs.rows._BLOCK_FLOATS", 64 * 70)
    rows = as_rows(x)
    assert rows.block_size == 70 and rows.count == 150
    total = rows.fold(lambda t, b: t + (b.values * b.fresh[:, None]).sum(0), jnp.zeros(64))
    np.testing.assert_allclose(total, x.sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(rows.map(lambda v: 2 * v), 2 * x)


@pytest.mark.slow
@pytest.mark.parametrize("index", [1, 2, 5, 7, 10], ids=lambda i: VARIANTS[i][0])
def test_fits_over_several_blocks_are_those_over_one(monkeypatch, index, fits, x):
    monkeypatch.setattr("ae_jax.codecs.rows._BLOCK_FLOATS", 64 * 70)
    jax.clear_caches()
    fit = _spec(*VARIANTS[index]).fit(x, KEY)
    jax.clear_caches()
    np.testing.assert_allclose(fit.history[:5], fits[index].history[:5], rtol=1e-3)


def test_an_objective_that_is_not_finite_is_said(x):
    with pytest.raises(UserError, match="not finite at iteration 3"):
        iterate(_failing, None, as_rows(x), jnp.zeros(()), 9, 0.0)


def _failing(spec, rows, state, iteration):
    return state, jnp.where(iteration == 2, jnp.nan, 1.0), jnp.ones(())
