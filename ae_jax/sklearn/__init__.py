"""scikit-learn estimators over `ae_jax.fit`: for pipelines, grid searches and data frames.

Parameters have the names and defaults that they have everywhere in this library; what is learned is
`model_`, a `Fitted`, of which everything can be asked that an estimator does not offer.
"""

from ae_jax.sklearn.autoencoder import Autoencoder
from ae_jax.sklearn.base import InvalidInput
from ae_jax.sklearn.codecs import (
    ICA,
    NMF,
    PCA,
    KMeans,
    ProbabilisticPCA,
    SparseCoding,
    SphericalMixture,
)
from ae_jax.sklearn.outliers import OutlierDetector

__all__ = [
    "ICA",
    "NMF",
    "PCA",
    "Autoencoder",
    "InvalidInput",
    "KMeans",
    "OutlierDetector",
    "ProbabilisticPCA",
    "SparseCoding",
    "SphericalMixture",
]
