"""Codecs against scikit-learn on data of five shapes: what is minimised, both at defaults."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.codecs import CODECS, SparseCoding, mean_squared_error
from experiments.benchmarks.workload import Workload

# Of k-means, whose starts differ by more than a margin: the best of so many on either side.
STARTS = 10
NONZEROS = 4


def _digits(rng: np.random.Generator) -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().data / 16


def _photographs(rng: np.random.Generator) -> np.ndarray:
    """8x8 patches of the two natural photographs that come with scikit-learn, grey."""
    from sklearn.datasets import load_sample_images

    patches = []
    for image in load_sample_images().images:
        grey = image.mean(axis=2) / 255
        corners = rng.integers(0, np.array(grey.shape) - 8, (1500, 2))
        patches += [grey[i : i + 8, j : j + 8].ravel() for i, j in corners]
    return np.stack(patches)


def _clusters(rng: np.random.Generator) -> np.ndarray:
    """Many examples of few dimensions, in ten groups."""
    centres = 3 * rng.random((10, 16))
    return np.abs(centres[rng.integers(0, 10, 20_000)] + 0.3 * rng.normal(size=(20_000, 16)))


def _wide(rng: np.random.Generator) -> np.ndarray:
    """Few examples of many dimensions, of eight parts."""
    parts = rng.gamma(0.5, size=(60, 8)) @ rng.gamma(0.5, size=(8, 400))
    return parts + 0.1 * rng.random((60, 400))


def _counts(rng: np.random.Generator) -> np.ndarray:
    """Words of twelve topics in 800 texts: mostly 0."""
    topics, shares = rng.dirichlet(np.full(300, 0.05), 12), rng.dirichlet(np.full(12, 0.2), 800)
    return rng.poisson(100 * shares @ topics)


SHAPES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "digits": _digits,
    "photographs": _photographs,
    "clusters": _clusters,
    "wide": _wide,
    "counts": _counts,
}


def rows_of(workload: Workload, shape: str, size: int) -> dict[str, Any]:
    """One row a method on the data of that name, with `size` atoms each."""
    warnings.simplefilter("ignore")  # scikit-learn's, of fits that did not converge
    x = SHAPES[shape](np.random.default_rng(0)).astype(np.float32)
    data = f"{shape} {x.shape[0]:,} x {x.shape[1]}"
    methods = (_pca, _kmeans, _frobenius, _kullback_leibler, _lasso, _omp)
    return {"rows": [{"data": data, **method(x, size)} for method in methods]}


def _row(method: str, ours: Callable[[], float], theirs: Callable[[], float]) -> dict[str, Any]:
    """Both objectives, and seconds: of ours the first fit, with compilation, and the second."""
    first, _ = _timed(ours)
    seconds, found = _timed(ours)
    their_seconds, known = _timed(theirs)
    return {
        "method": method,
        "objective, ours / scikit-learn": round(found / known, 4),
        "scikit-learn / ours": round(their_seconds / seconds, 2),
        "with compilation": round(their_seconds / first, 2),
        "seconds, ours": round(seconds, 3),
        "seconds, scikit-learn": round(their_seconds, 3),
    }


def _timed(function: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def _pca(x: np.ndarray, size: int) -> dict[str, Any]:
    from sklearn.decomposition import PCA

    def theirs() -> float:
        found = PCA(size, random_state=0).fit(x)
        unexplained = np.var(x.astype(np.float64), axis=0).sum()
        return unexplained - found.explained_variance_.sum() * (len(x) - 1) / len(x)

    return _row("pca", lambda: _last("pca", x, size), theirs)


def _kmeans(x: np.ndarray, size: int) -> dict[str, Any]:
    from sklearn.cluster import KMeans

    def ours() -> float:
        return min(_last("kmeans", x, size, seed) for seed in range(STARTS))

    return _row(
        f"kmeans, best of {STARTS}",
        ours,
        lambda: KMeans(size, n_init=STARTS, random_state=0).fit(x).inertia_ / len(x),
    )


def _frobenius(x: np.ndarray, size: int) -> dict[str, Any]:
    return _row("nmf, frobenius", lambda: _last("nmf", x, size), lambda: _sklearn_nmf(x, size))


def _kullback_leibler(x: np.ndarray, size: int) -> dict[str, Any]:
    return _row(
        "nmf, kullback_leibler",
        lambda: _last("nmf", x, size, divergence="kullback_leibler"),
        lambda: _sklearn_nmf(x, size, beta_loss="kullback-leibler", solver="mu"),
    )


def _sklearn_nmf(x: np.ndarray, size: int, **options) -> float:
    from sklearn.decomposition import NMF

    found = NMF(size, random_state=0, **options).fit(x.astype(np.float64))
    return 0.5 * found.reconstruction_err_**2 / len(x)


def _lasso(x: np.ndarray, size: int) -> dict[str, Any]:
    """Dictionaries of twice the size, each with the best codes for it."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    penalty = 0.2 * float(np.sqrt(np.square(x).sum(axis=1).mean()))
    spec = SparseCoding(2 * size, penalty=penalty)

    def judged(dictionary: Any) -> float:
        codec = spec.blank(x.shape[1]).replace(dictionary=jnp.asarray(dictionary, jnp.float32))
        return float(codec.objective(x, codec.encode(x)).mean())

    def theirs() -> float:
        found = MiniBatchDictionaryLearning(2 * size, alpha=penalty, random_state=0).fit(x)
        return judged(found.components_)

    return _row(
        "sparse_coding, l1",
        lambda: judged(spec.fit(x, jax.random.key(0)).codec.dictionary),
        theirs,
    )


def _omp(x: np.ndarray, size: int) -> dict[str, Any]:
    """Codes for one dictionary, of examples: what orthogonal matching pursuit leaves."""
    from sklearn.linear_model import orthogonal_mp

    order = np.random.default_rng(1).permutation(len(x))
    atoms = x[order[: min(2 * size, len(x))]].astype(np.float64)
    atoms = atoms[np.linalg.norm(atoms, axis=1) > 0]
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    spec = SparseCoding(len(atoms), sparsity="omp", num_nonzeros=NONZEROS)
    codec = spec.blank(x.shape[1]).replace(dictionary=jnp.asarray(atoms, jnp.float32))

    def theirs() -> float:
        codes = orthogonal_mp(atoms.T, x.T.astype(np.float64), n_nonzero_coefs=NONZEROS).T
        return np.square(x - codes @ atoms).sum(axis=1).mean()

    return _row(f"omp, {NONZEROS} atoms", lambda: float(mean_squared_error(codec, x)), theirs)


def _last(codec: str, x: np.ndarray, size: int, seed: int = 0, **options) -> float:
    """The last objective of a fit at the defaults."""
    return float(CODECS.get(codec)(size, **options).fit(x, jax.random.key(seed)).history[-1])
