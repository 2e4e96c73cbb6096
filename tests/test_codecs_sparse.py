"""Sparse codes and dictionaries against scikit-learn, known dictionaries and optimality."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import DictionaryLearning, MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, orthogonal_mp

from ae_jax.codecs import Pca, SparseCoding
from ae_jax.codecs.coordinate import positive, solve, sweep
from ae_jax.codecs.sparse_codes import largest_eigenvalue_bound, matching_pursuit
from ae_jax.codecs.sparse_coding import SparseCodingCodec
from ae_jax.core.errors import UserError

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32)[:400] / 16


@pytest.fixture(scope="module")
def unit_atoms() -> np.ndarray:
    """Overcomplete: 40 correlated unit atoms of 20 dimensions."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(40, 20)) + 0.5
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def signals(unit_atoms) -> np.ndarray:
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(60, 40)) * (rng.random((60, 40)) < 0.1)
    return codes @ unit_atoms + 0.05 * rng.normal(size=(60, 20))


def _codec(atoms, penalty=0.1, **options) -> SparseCodingCodec:
    return SparseCodingCodec(
        jnp.asarray(atoms, jnp.float32),
        jnp.float32(penalty),
        jnp.int32(5000),
        jnp.float32(1e-7),
        **options,
    )


def _objective(x, atoms, penalty) -> float:
    """The dictionary's objective at the best codes for it, by scikit-learn in float64."""
    x, atoms = np.asarray(x, np.float64), np.asarray(atoms, np.float64)
    codes = sparse_encode(x, atoms, algorithm="lasso_cd", alpha=penalty, max_iter=5000)
    squares = 0.5 * np.square(x - codes @ atoms).sum(axis=1)
    return (squares + penalty * np.abs(codes).sum(axis=1)).mean()


@pytest.mark.slow_cases("0.3-coordinate_descent")
@pytest.mark.parametrize("solver", ["coordinate_descent", "fista"])
@pytest.mark.parametrize("penalty", [0.02, 0.3])
def test_lasso_codes_are_scikit_learns(unit_atoms, signals, solver, penalty):
    codec = _codec(unit_atoms, penalty, solver=solver)
    codes = np.asarray(codec.encode(jnp.asarray(signals, jnp.float32)))
    oracle = sparse_encode(signals, unit_atoms, algorithm="lasso_lars", alpha=penalty, max_iter=500)
    np.testing.assert_allclose(codes, oracle, atol=2e-3)
    np.testing.assert_array_equal(np.abs(codes) > 5e-3, np.abs(oracle) > 5e-3)


@pytest.mark.parametrize("solver", ["coordinate_descent", "fista"])
def test_non_negative_codes_are_scikit_learns(unit_atoms, signals, solver):
    codec = _codec(unit_atoms, 0.1, solver=solver, sparsity="l1_positive")
    codes = np.asarray(codec.encode(jnp.asarray(signals, jnp.float32)))
    lasso = Lasso(alpha=0.1 / 20, positive=True, fit_intercept=False, tol=1e-10, max_iter=100_000)
    oracle = np.stack([lasso.fit(unit_atoms.T, row).coef_ for row in signals])
    np.testing.assert_allclose(codes, oracle, atol=2e-3)
    assert not np.signbit(codes).any()


@pytest.mark.slow_cases("coordinate_descent")
@pytest.mark.parametrize("solver", ["coordinate_descent", "fista"])
def test_codes_meet_the_conditions_of_optimality(unit_atoms, signals, solver):
    """Each atom's product with the residual is the penalty where used, and no more elsewhere."""
    codec = _codec(unit_atoms, 0.1, solver=solver)
    codes = np.asarray(codec.encode(jnp.asarray(signals, jnp.float32)), np.float64)
    products = (signals - codes @ unit_atoms) @ unit_atoms.T
    used = np.abs(codes) > 1e-3
    np.testing.assert_allclose(products[used], 0.1 * np.sign(codes[used]), atol=2e-3)
    assert np.abs(products).max() < 0.1 + 2e-3


@pytest.mark.parametrize("count", [1, 3, 8])
def test_matching_pursuit_is_scikit_learns(unit_atoms, signals, count):
    codec = _codec(unit_atoms, sparsity="omp", num_nonzeros=count)
    codes = np.asarray(codec.encode(jnp.asarray(signals, jnp.float32)))
    oracle = orthogonal_mp(unit_atoms.T, signals.T, n_nonzero_coefs=count).T
    np.testing.assert_array_equal((codes != 0).sum(axis=1), count)
    np.testing.assert_allclose(codes, oracle, atol=2e-3)


@pytest.mark.slow
def test_matching_pursuit_of_nothing_and_of_repeated_atoms_is_finite():
    atoms = jnp.eye(3, 5)[jnp.array([0, 0, 1, 2])]
    x = jnp.asarray([[0.0, 0, 0, 0, 0], [1.0, 2, 3, 0, 0]])
    codes = np.asarray(matching_pursuit(atoms @ atoms.T, atoms @ x.T, 4)).T
    np.testing.assert_allclose(codes @ np.asarray(atoms), x, atol=1e-6)


@pytest.mark.slow
def test_the_bound_on_the_eigenvalue_holds_and_is_close():
    for seed, size in ((0, 5), (1, 64), (2, 200)):
        a = np.random.default_rng(seed).normal(size=(size, size)) * 10.0**seed
        gram = a @ a.T
        largest = np.linalg.eigvalsh(gram)[-1]
        bound = float(largest_eigenvalue_bound(jnp.asarray(gram, jnp.float32)))
        assert largest * (1 - 1e-4) <= bound <= 1.06 * largest
    assert float(largest_eigenvalue_bound(jnp.zeros((4, 4)))) == 0


@pytest.mark.slow
def test_a_sweep_is_gauss_seidel_and_ends_at_the_least_squares():
    rng = np.random.default_rng(4)
    for count in (3, 8, 19):
        a = rng.normal(size=(40, count))
        gram, target = a.T @ a, a.T @ rng.normal(size=(40, 6))
        z = rng.normal(size=(count, 6))
        ours = sweep(*(jnp.asarray(v, jnp.float32) for v in (z, gram, target)), lambda r, s: r)
        for j in range(count):
            z[j] += (target[j] - gram[j] @ z) / gram[j, j]
        np.testing.assert_allclose(ours, z, atol=1e-4)
        best = solve(
            jnp.asarray(z, jnp.float32),
            jnp.asarray(gram, jnp.float32),
            jnp.asarray(target, jnp.float32),
            lambda r, s: r,
            2000,
            1e-7,
        )
        np.testing.assert_allclose(best, np.linalg.solve(gram, target), atol=1e-3)


def test_rows_that_nothing_uses_stay_as_they_are():
    gram = jnp.diag(jnp.asarray([1.0, 0.0, 2.0]))
    z = sweep(jnp.full((3, 2), 0.5), gram, jnp.ones((3, 2)), positive)
    np.testing.assert_allclose(z, [[1, 1], [0.5, 0.5], [0.5, 0.5]])


@pytest.mark.slow
def test_the_objective_is_no_worse_than_scikit_learns(digits):
    # Thirty passes of scikit-learn's, for a test of seconds; its default allows more.
    options = {"n_components": 80, "alpha": 0.2, "random_state": 0, "max_iter": 30}
    online = SparseCoding(80, penalty=0.2, batch_size=100).fit(digits, KEY).codec
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of its LARS, on correlated atoms
        theirs = MiniBatchDictionaryLearning(**options).fit(digits).components_
    theirs_score = _objective(digits, theirs, 0.2)
    assert _objective(digits, online.atoms, 0.2) <= 1.01 * theirs_score
    whole = SparseCoding(80, penalty=0.2, batch_size=0, max_iterations=40)
    assert _objective(digits, whole.fit(digits, KEY).codec.atoms, 0.2) <= 1.01 * theirs_score


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_alternation_is_no_worse_than_scikit_learns(digits):
    x = digits[:150]
    oracle = DictionaryLearning(
        30, alpha=0.2, max_iter=100, tol=1e-8, random_state=0, fit_algorithm="cd"
    )
    theirs = _objective(x, oracle.fit(x).components_, 0.2)
    fit = SparseCoding(30, penalty=0.2, batch_size=0, max_iterations=500, tolerance=1e-5).fit(
        x, KEY
    )
    assert _objective(x, fit.codec.atoms, 0.2) <= 1.01 * theirs
    # What was reported is what the dictionary has with the last codes found.
    assert fit.history[-1] == pytest.approx(_objective(x, fit.codec.atoms, 0.2), rel=0.01)


@pytest.mark.slow_cases("fista")
@pytest.mark.parametrize("solver", ["coordinate_descent", "fista"])
def test_alternation_never_increases_the_objective(digits, solver):
    spec = SparseCoding(32, solver=solver, batch_size=0, max_iterations=15, code_tolerance=1e-3)
    history = spec.fit(digits[:200], KEY).history
    # Replacing an unused atom changes nothing at once; rounding may.
    assert np.all(np.diff(history) <= 1e-4 * history[:-1])
    assert history[-1] < history[0]


@pytest.mark.slow
@pytest.mark.parametrize("sparsity, batch_size", [("omp", 0), ("l1", 0), ("l1", 250)])
def test_a_known_dictionary_is_recovered(sparsity, batch_size):
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(24, 16))
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    codes = np.zeros((1000, 24))
    for row in codes:
        row[rng.choice(24, 3, replace=False)] = rng.choice([-1, 1], 3) * rng.uniform(0.5, 1.5, 3)
    x = (codes @ truth + 0.01 * rng.normal(size=(1000, 16))).astype(np.float32)
    spec = SparseCoding(
        24, sparsity=sparsity, num_nonzeros=3, penalty=0.1, batch_size=batch_size, tolerance=1e-5
    )
    atoms = np.asarray(spec.fit(x, KEY).codec.atoms)
    match = np.abs(truth @ atoms.T).max(axis=1)
    assert (match > 0.98).mean() >= 0.9


@pytest.mark.slow
def test_unused_atoms_come_back(digits):
    """Data of few directions and more atoms than can be used: all stay of unit norm."""
    x = np.repeat(digits[:3], 40, axis=0)
    fit = SparseCoding(12, batch_size=0, max_iterations=5).fit(x, KEY)
    np.testing.assert_allclose(np.linalg.norm(fit.codec.atoms, axis=1), 1, atol=1e-5)
    blank = SparseCoding(3, batch_size=0).fit(np.zeros((10, 4), np.float32), KEY)
    np.testing.assert_allclose(np.linalg.norm(blank.codec.atoms, axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_more_penalty_is_fewer_and_worse(digits):
    errors, used = [], []
    for penalty in (0.01, 0.1, 1.0):
        codec = SparseCoding(32, penalty=penalty, max_iterations=10).fit(digits, KEY).codec
        z = codec.encode(digits)
        used.append(float((z != 0).mean()))
        errors.append(float(jnp.square(digits - codec.decode(z)).sum(axis=1).mean()))
    assert used == sorted(used, reverse=True) and errors == sorted(errors)


@pytest.mark.slow
def test_no_more_than_pca_of_as_many_atoms_can_do(digits):
    """Without sparsity a dictionary spans what it spans: PCA of that size is the bound."""
    codec = SparseCoding(10, sparsity="omp", num_nonzeros=10, batch_size=0).fit(digits, KEY).codec
    error = jnp.square(digits - codec.decode(codec.encode(digits))).sum(axis=1).mean()
    moments = np.square(digits).sum(axis=1).mean()
    centred = Pca(10).fit(digits, KEY).history[-1]
    mean_share = np.square(digits.mean(axis=0)).sum()
    assert centred <= float(error) * (1 + 1e-4)
    assert float(error) < moments - mean_share


@pytest.mark.slow_cases("options3-sparsity")
@pytest.mark.parametrize(
    "options, message",
    [
        ({"sparsity": "omp", "num_nonzeros": 65}, "num_nonzeros=65"),
        ({"batch_size": 500}, "batch_size=500"),
        ({"penalty": -0.1}, "penalty"),
        ({"sparsity": "l0"}, "sparsity"),
    ],
)
def test_what_cannot_be_fitted_is_said(digits, options, message):
    with pytest.raises(UserError, match=message):
        SparseCoding(80, **options).fit(digits, KEY)
