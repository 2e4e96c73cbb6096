"""One estimator a codec of `ae_jax.codecs`, with its options for parameters."""

import dataclasses
import warnings
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import ClusterMixin
from sklearn.exceptions import ConvergenceWarning

import ae_jax
from ae_jax.api import Fitted
from ae_jax.codecs import CODECS
from ae_jax.sklearn.base import Estimator

Solver = Literal["auto", "svd", "gram", "randomized"]


@dataclasses.dataclass(eq=False, repr=False)
class CodecEstimator(Estimator):
    """A codec with `latent_dim` atoms; None is the default, or as many as the data allow.

    All further parameters are those of the codec, of the same name.
    """

    codec: ClassVar[str]
    default_atoms: ClassVar[int | None] = None  # where it is not that of the codec

    latent_dim: int | None = None

    def _fit(self, X: np.ndarray) -> Fitted:
        options = self._options()
        latent_dim = self.latent_dim
        if latent_dim is None:
            spec = CODECS.get(self.codec)(**options)
            wanted, most = self.default_atoms or spec.latent_dim, spec.most_atoms(*X.shape)
            latent_dim = wanted if most is None else min(wanted, most)
        model = ae_jax.fit(
            self._data(X),
            codec=self.codec,
            codec__latent_dim=latent_dim,
            data__preprocess=self.preprocess,
            train__seed=self._seed,
            progress=False,
            **{f"codec__{name}": value for name, value in options.items()},
        )
        if not model.records[-1]["converged"]:
            warnings.warn(
                f"{type(self).__name__} did not converge in {model.step} iterations: more "
                "max_iterations may help",
                ConvergenceWarning,
                stacklevel=3,
            )
        return model

    def _options(self) -> dict[str, Any]:
        """The options of the codec beside its number of atoms."""
        names = {field.name for field in dataclasses.fields(CODECS.get(self.codec))}
        given = self.get_params(deep=False)
        return {name: given[name] for name in names - {"latent_dim"}}

    @property
    def components_(self) -> np.ndarray:
        """The atoms [Z, D], in model units."""
        return np.asarray(self.model_.params.atoms)

    @property
    def n_iter_(self) -> int:
        """Iterations until it converged or had to end."""
        return self.model_.step


@dataclasses.dataclass(eq=False, repr=False)
class _Linear(CodecEstimator):
    @property
    def explained_variance_ratio_(self) -> np.ndarray:
        """The share of the variance along each component, [Z]."""
        return np.asarray(self.model_.params.explained_variance_ratio)


@dataclasses.dataclass(eq=False, repr=False)
class _Clusters(ClusterMixin, CodecEstimator):
    default_atoms: ClassVar[int | None] = 8  # as in scikit-learn

    def fit(self, X: Any, y: Any = None) -> "_Clusters":
        """Fits to examples [N, D], and says in `labels_` [N] to which cluster each belongs."""
        super().fit(X, y)
        self.labels_ = self.predict(X)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest cluster of each example, [N] int64 from 0."""
        return self._codes(X).argmax(axis=1)


@dataclasses.dataclass(eq=False, repr=False)
class PCA(_Linear):
    """Principal component analysis (Hotelling 1933), as `ae_jax.codecs.Pca`.

    latent_dim       components; None is 20, or as many as the data have
    whiten           codes of unit variance
    solver           `svd`, `gram`, `randomized`, or `auto` by the size of the data
    oversampling     of the randomised solver: dimensions beyond `latent_dim`
    max_iterations   of the randomised solver, a pass over the data each
    tolerance        of the randomised solver: the angle by which the components may still turn
    preprocess       a preprocessing of this library, `auto`: only bytes are scaled, to [0, 1]
    score_kind       what `score` says: `auto` is minus the squared error
    random_state     of the randomised solver
    """

    codec: ClassVar[str] = "pca"

    _: dataclasses.KW_ONLY
    whiten: bool = False
    solver: Solver = "auto"
    oversampling: int = 10
    max_iterations: int = 30
    tolerance: float = 1e-3


@dataclasses.dataclass(eq=False, repr=False)
class ProbabilisticPCA(_Linear):
    """Probabilistic PCA by maximum likelihood (Tipping & Bishop 1999), with an exact log p(x).

    latent_dim       components; None is 20, or as many as leave variance to the noise
    noise_variance   of each dimension; 0 is to be fitted
    solver           as of `PCA`
    preprocess       a preprocessing of this library, `auto`: only bytes are scaled, to [0, 1]
    score_kind       what `score` says: `auto` is log p(x), nats per example
    random_state     of the randomised solver
    """

    codec: ClassVar[str] = "probabilistic_pca"
    least_features: ClassVar[int] = 2

    _: dataclasses.KW_ONLY
    noise_variance: float = 0.0
    solver: Solver = "auto"


@dataclasses.dataclass(eq=False, repr=False)
class KMeans(_Clusters):
    """k-means (Lloyd 1982; mini-batches: Sculley 2010). Codes are one-hot.

    latent_dim       clusters; None is 8, or as many as there are examples
    batch_size       0: all examples each iteration; otherwise mini-batches of this size
    max_iterations   most iterations
    tolerance        stops where the centres shift by no more, as a share of the variance
    preprocess       a preprocessing of this library, `auto`: only bytes are scaled, to [0, 1]
    score_kind       what `score` says: `auto` is log p(x) of the mixture about the centres, nats
    random_state     of the first centres (k-means++)
    """

    codec: ClassVar[str] = "kmeans"

    _: dataclasses.KW_ONLY
    batch_size: int = 0
    max_iterations: int = 300
    tolerance: float = 1e-4


@dataclasses.dataclass(eq=False, repr=False)
class SphericalMixture(_Clusters):
    """A mixture of spherical Gaussians of one variance by EM. Codes are p(k|x).

    latent_dim       components; None is 8, or as many as there are examples
    variance         of each dimension about the centres; 0 is to be fitted
    start            `seeds` as k-means starts, or `kmeans` where it ends
    max_iterations   most iterations, a pass over the data each
    tolerance        stops where -log p(x) decreases by no more than so many nats a dimension
    preprocess       a preprocessing of this library, `auto`: only bytes are scaled, to [0, 1]
    score_kind       what `score` says: `auto` is log p(x), nats per example
    random_state     of the first centres (k-means++)
    """

    codec: ClassVar[str] = "spherical_mixture"

    _: dataclasses.KW_ONLY
    variance: float = 0.0
    start: Literal["seeds", "kmeans"] = "seeds"
    max_iterations: int = 300
    tolerance: float = 1e-6

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(k|x) of each component, [N, Z]: the codes."""
        return self._codes(X)


@dataclasses.dataclass(eq=False, repr=False)
class NMF(CodecEstimator):
    """Non-negative matrix factorisation of data that are nowhere negative.

    latent_dim       parts; None is 20, or as many as there are singular vectors to start from
    divergence       `frobenius` (half the squared error) or `kullback_leibler`
    init             `nndsvda`, from singular vectors, or `random`
    sweeps           over the codes, and over the atoms, each iteration
    max_iterations   most iterations
    tolerance        stops where about this share of the objective is left to be gained
    encode_iterations, encode_tolerance   when the codes of new examples are found
    preprocess       a preprocessing of this library, `auto`: only bytes are scaled, to [0, 1]
    score_kind       what `score` says: `auto` is minus the squared error
    random_state     of a random start
    """

    codec: ClassVar[str] = "nmf"
    non_negative: ClassVar[bool] = True

    _: dataclasses.KW_ONLY
    divergence: Literal["frobenius", "kullback_leibler"] = "frobenius"
    init: Literal["nndsvda", "random"] = "nndsvda"
    sweeps: int = 4
    max_iterations: int = 200
    tolerance: float = 5e-3
    encode_iterations: int = 500
    encode_tolerance: float = 1e-5


@dataclasses.dataclass(eq=False, repr=False)
class ICA(CodecEstimator):
    """FastICA, symmetric (Hyvarinen 1999).

    latent_dim       sources; None is 20, or as many components as the data have
    contrast         `logcosh`, `exp` or `cube`
    solver           of the whitening, as of `PCA`
    max_iterations   most iterations
    tolerance        stops where no direction turns by more: 1 - |cos|
    preprocess       a preprocessing of this library, `auto`: only bytes are scaled, to [0, 1]
    score_kind       what `score` says: `auto` is minus the squared error
    random_state     of the first directions
    """

    codec: ClassVar[str] = "ica"

    _: dataclasses.KW_ONLY
    contrast: Literal["logcosh", "exp", "cube"] = "logcosh"
    solver: Solver = "auto"
    max_iterations: int = 200
    tolerance: float = 1e-4


@dataclasses.dataclass(eq=False, repr=False)
class SparseCoding(CodecEstimator):
    """Sparse coding, or dictionary learning (Olshausen & Field 1997; Mairal et al. 2010).

    latent_dim       atoms; None is 64
    sparsity         `l1`, `l1_positive`, or `omp`: exactly `num_nonzeros` atoms an example
    penalty          on |z|_1, in the units of the squared error
    num_nonzeros     atoms an example under `omp`
    solver           of the codes under l1: `coordinate_descent` or `fista`
    batch_size       0: all examples each iteration; otherwise online, in batches of this size; None
                     chooses by the number of examples
    sweeps           over the atoms at each update
    max_iterations   most iterations
    tolerance        stops where the objective changes by no more than this share
    code_iterations, code_tolerance       when codes are found while fitting
    encode_iterations, encode_tolerance   when the codes of new examples are found
    preprocess       a preprocessing of this library, `auto`: only bytes are scaled, to [0, 1]
    score_kind       what `score` says: `auto` is minus the squared error
    random_state     of the first atoms, and of batches
    """

    codec: ClassVar[str] = "sparse_coding"

    _: dataclasses.KW_ONLY
    sparsity: Literal["l1", "l1_positive", "omp"] = "l1"
    penalty: float = 0.1
    num_nonzeros: int = 5
    solver: Literal["coordinate_descent", "fista"] = "coordinate_descent"
    batch_size: int | None = None
    sweeps: int = 1
    max_iterations: int = 100
    tolerance: float = 1e-4
    code_iterations: int = 100
    code_tolerance: float = 1e-2
    encode_iterations: int = 1000
    encode_tolerance: float = 1e-5
