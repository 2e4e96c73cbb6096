"""Outlier detection: any estimator of this package with scikit-learn's signs and a threshold."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ae_jax.core.errors import UserError
from ae_jax.eval.scores import Score, score_named, threshold_at
from ae_jax.sklearn.autoencoder import Autoencoder
from ae_jax.sklearn.base import Estimator, as_value_errors


@dataclasses.dataclass(eq=False, repr=False)
class OutlierDetector(OutlierMixin, BaseEstimator):
    """Calls outliers what a model of the examples has badly.

    Signs are scikit-learn's: scores are lower for outliers, and `predict` gives -1 for them and 1
    for the others. `ae_jax`'s own scores, like PyOD's, are higher for outliers.

    estimator       an estimator of this package; None is an `Autoencoder` at its defaults
    kind            a score of `ae_jax.eval.SCORES`: `reconstruction`, `bound`, `log_likelihood`,
                    `code`; or a function of your own
    contamination   the share of training examples to be called outliers, in (0, 0.5]
    random_state    that of the estimator; None leaves it the one it has

    `offset_` is the score at which the two part; `estimator_` is what was fitted.
    """

    estimator: Estimator | None = None

    _: dataclasses.KW_ONLY
    kind: str | Score = "reconstruction"
    contamination: float = 0.1
    random_state: int | np.random.RandomState | None = None

    def fit(self, X: Any, y: Any = None) -> "OutlierDetector":
        """Fits the estimator to examples [N, D], and the offset to their scores."""
        with as_value_errors():
            share = self.contamination
            if not isinstance(share, float | int | np.floating) or not 0 < share <= 0.5:
                raise UserError(f"contamination lies in (0, 0.5], not at {share!r}")
            if not isinstance(self._chosen, Estimator):
                raise UserError(
                    f"estimator is one of ae_jax.sklearn, not a {type(self.estimator).__name__}"
                )
            if isinstance(self.kind, str):
                score_named(self.kind)  # known, before anything is trained
        estimator = clone(self._chosen)
        if self.random_state is not None:
            estimator.set_params(random_state=self.random_state)
        # The data are looked at by the estimator, which knows what it asks of them.
        X = validate_data(self, X, ensure_min_samples=2, ensure_all_finite=self._finite)
        self.estimator_ = estimator.fit(X)
        self.offset_ = -threshold_at(-self._scored(X), self.contamination)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Minus the anomaly scores, [N] float64: the lower, the more anomalous."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, ensure_all_finite=self._finite)
        return self._scored(X)

    def _scored(self, X: np.ndarray) -> np.ndarray:
        """`score_samples` of examples that were looked at."""
        estimator = self.estimator_
        X = estimator._validated(X)
        with as_value_errors():
            scores = np.asarray(estimator.model_.score(estimator._shaped(X), self.kind))
        return -scores.astype(np.float64)

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less `offset_`, [N]: below 0 are outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """-1 for outliers, 1 for the others, [N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        own = get_tags(self._chosen).input_tags
        tags.input_tags.positive_only = own.positive_only
        tags.input_tags.allow_nan = own.allow_nan
        return tags

    @property
    def _chosen(self) -> Estimator:
        return Autoencoder() if self.estimator is None else self.estimator

    @property
    def _finite(self) -> bool | str:
        takes_missing = isinstance(self._chosen, Estimator) and self._chosen._takes_missing
        return "allow-nan" if takes_missing else True
