"""Codecs by name: encoders and decoders that are fitted without backprop.

To add one: a file in this folder, one line here, and a row of the table in `form.py`.
"""

from ae_jax.codecs.base import Codec, CodecSpec, Fit, Progress, mean_squared_error
from ae_jax.codecs.ica import Ica
from ae_jax.codecs.kmeans import KMeans
from ae_jax.codecs.nmf import Nmf
from ae_jax.codecs.pca import Pca
from ae_jax.codecs.probabilistic_pca import ProbabilisticPca
from ae_jax.codecs.rows import Rows, as_rows
from ae_jax.codecs.sparse_coding import SparseCoding
from ae_jax.codecs.spherical_mixture import SphericalMixture
from ae_jax.core.registry import Registry

CODECS = Registry[type[CodecSpec]](
    "codec",
    {
        "ica": Ica,
        "kmeans": KMeans,
        "nmf": Nmf,
        "pca": Pca,
        "probabilistic_pca": ProbabilisticPca,
        "sparse_coding": SparseCoding,
        "spherical_mixture": SphericalMixture,
    },
)

__all__ = [
    "CODECS",
    "Codec",
    "CodecSpec",
    "Fit",
    "Ica",
    "KMeans",
    "Nmf",
    "Pca",
    "ProbabilisticPca",
    "Progress",
    "Rows",
    "SparseCoding",
    "SphericalMixture",
    "as_rows",
    "mean_squared_error",
]
