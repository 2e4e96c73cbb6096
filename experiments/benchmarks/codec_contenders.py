"""Codecs against scikit-learn: both fit the same digits, and one judge rates what they found."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.codecs import CODECS, Codec, CodecSpec, as_rows, mean_squared_error
from ae_jax.codecs.kmeans import KMeansCodec
from ae_jax.codecs.nmf import NmfCodec
from ae_jax.codecs.pca import PcaCodec
from ae_jax.codecs.sparse_coding import SparseCoding, SparseCodingCodec
from experiments.benchmarks.workload import Workload, digits, peak_mib

# Weight of |z|_1: scikit-learn's default for dictionary learning.
PENALTY = 1.0
# Over the data: scikit-learn stops early, within its first.
PASSES = 1
# Examples that the quality is a mean over: coding them to the end takes longer than fitting.
JUDGED = 2000


def _spec(codec: str, size: int) -> CodecSpec:
    """Ours at its defaults; dictionary learning makes as many passes as scikit-learn does."""
    options = {"penalty": PENALTY, "max_iterations": PASSES} if codec == "sparse_coding" else {}
    return CODECS.get(codec)(size, **options)


def library(workload: Workload, codec: str, size: int) -> dict:
    """Seconds of a fit with compilation and of one after it, and the quality of what it found."""
    rows = as_rows(digits(workload), scale=1 / 255)
    spec = _spec(codec, size)

    def fit() -> Any:
        found = spec.fit(rows, jax.random.key(0))
        jax.block_until_ready(found.codec)
        return found

    first, _ = _timed(fit)
    seconds, found = _timed(fit)
    return {
        "first": first,
        "seconds": seconds,
        "iterations": found.iterations,
        "converged": bool(found.converged),
        "quality": quality(found.codec, workload),
        "peak_mib": peak_mib(),
    }


def scikit_learn(workload: Workload, codec: str, size: int) -> dict:
    """Seconds of a fit by scikit-learn at its defaults, and the quality of what it found."""
    x = digits(workload).astype(np.float32) / 255
    estimator = _ESTIMATORS[codec](size)
    seconds, _ = _timed(lambda: estimator.fit(x))
    return {
        "seconds": seconds,
        "iterations": int(getattr(estimator, "n_iter_", 1)),
        "quality": quality(_AS_CODEC[codec](estimator), workload),
        "peak_mib": peak_mib(),
    }


def quality(codec: Codec, workload: Workload) -> float:
    """What the codec minimises, on the first training digits; smaller is better.

    Sparse coding: 1/2 |x - z Phi|^2 + penalty |z|_1 with the best z; others: squared error.
    """
    x = jnp.asarray(digits(workload)[:JUDGED].astype(np.float32) / 255)
    if isinstance(codec, SparseCodingCodec):
        return float(codec.objective(x, codec.encode(x)).mean())
    return float(mean_squared_error(codec, x))


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def _pca(size: int) -> Any:
    from sklearn.decomposition import PCA

    return PCA(size, random_state=0)


def _kmeans(size: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(size, random_state=0)


def _nmf(size: int) -> Any:
    from sklearn.decomposition import NMF

    return NMF(size, random_state=0)


def _dictionary(size: int) -> Any:
    from sklearn.decomposition import MiniBatchDictionaryLearning

    return MiniBatchDictionaryLearning(size, alpha=PENALTY, random_state=0)


_ESTIMATORS = {"pca": _pca, "kmeans": _kmeans, "nmf": _nmf, "sparse_coding": _dictionary}


def _pca_codec(estimator: Any) -> PcaCodec:
    variance = jnp.asarray(estimator.explained_variance_, jnp.float32)
    components = jnp.asarray(estimator.components_, jnp.float32)
    return PcaCodec(components, jnp.asarray(estimator.mean_, jnp.float32), variance, variance.sum())


def _kmeans_codec(estimator: Any) -> KMeansCodec:
    centres = jnp.asarray(estimator.cluster_centers_, jnp.float32)
    shares = jnp.ones(len(centres)) / len(centres)
    return KMeansCodec(centres, jnp.zeros(centres.shape[1]), shares, jnp.ones(()))


def _nmf_codec(estimator: Any) -> NmfCodec:
    atoms = jnp.asarray(estimator.components_, jnp.float32)
    return NmfCodec(atoms, jnp.asarray(500, jnp.int32), jnp.asarray(1e-5))


def _dictionary_codec(estimator: Any) -> SparseCodingCodec:
    atoms = jnp.asarray(estimator.components_, jnp.float32)
    blank = SparseCoding(len(atoms), penalty=PENALTY).blank(atoms.shape[1])
    return blank.replace(dictionary=atoms)


_AS_CODEC = {
    "pca": _pca_codec,
    "kmeans": _kmeans_codec,
    "nmf": _nmf_codec,
    "sparse_coding": _dictionary_codec,
}
