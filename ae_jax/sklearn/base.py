"""What all estimators share: data by scikit-learn's door, then `ae_jax.fit` and its `Fitted`."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ae_jax.api import Fitted
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.data.arrays import examples_of
from ae_jax.data.base import DataSet, Split

ScoreKind = Literal["auto", "log_likelihood", "bound", "reconstruction"]
NAME = "array"
_SEEDS = 2**31


class InvalidInput(UserError, ValueError):
    """What this library refuses with one clear sentence, as the ValueError that scikit-learn asks
    of its estimators."""


@contextmanager
def as_value_errors() -> Iterator[None]:
    """Inside, what the user can mend is raised as `InvalidInput`."""
    try:
        yield
    except (UserError, TrainingDiverged) as error:
        raise InvalidInput(str(error)) from error


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A transformer from examples [N, D] to codes [N, Z], and back.

    Subclasses are dataclasses of their parameters and say how they are fitted.
    """

    least_features: ClassVar[int] = 1
    non_negative: ClassVar[bool] = False

    preprocess: str = "auto"
    score_kind: ScoreKind = "auto"
    random_state: int | np.random.RandomState | None = None

    def fit(self, X: Any, y: Any = None) -> "Estimator":
        """Fits to examples [N, D]; `y` is not looked at. Raises ValueError."""
        X = self._validated(X, reset=True)
        with as_value_errors():
            self.model_ = self._fit(X)
        return self

    def _fit(self, X: np.ndarray) -> Fitted:
        raise NotImplementedError(f"{type(self).__name__} does not define _fit")

    def transform(self, X: Any) -> np.ndarray:
        """Codes [N, Z] float32 of examples [N, D]: means of q(z|x)."""
        return self._codes(X)

    def _codes(self, X: Any) -> np.ndarray:
        """`transform` itself: what is called so gives what `set_output` asks for."""
        check_is_fitted(self)
        X = self._validated(X)
        with as_value_errors():
            return self.model_.encode(self._shaped(X))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Examples [N, D] in the units of the data, from codes [N, Z]: means of p(x|z)."""
        check_is_fitted(self)
        codes = check_array(X, input_name="X")
        with as_value_errors():
            return self.model_.decode(codes).reshape(len(codes), -1)

    def score(self, X: Any, y: Any = None) -> float:
        """How well the model has examples [N, D], a mean over them: the higher, the better.

        log p(x) where it is exact, else the evidence lower bound with ten codes an example, nats
        both; of a code that is not random, minus the squared error of the reconstruction, summed
        over dimensions in model units. `score_kind` chooses another of them.
        """
        check_is_fitted(self)
        X = self._validated(X)
        with as_value_errors():
            kind = _best_score(self.model_) if self.score_kind == "auto" else self.score_kind
            return -float(np.mean(self.model_.score(self._shaped(X), kind), dtype=np.float64))

    @property
    def _n_features_out(self) -> int:
        """The size of the code, which names of features count to."""
        return self.model_.setup.latent_dim

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.positive_only = self.non_negative
        tags.input_tags.allow_nan = self._takes_missing
        return tags

    @property
    def _takes_missing(self) -> bool:
        return False

    def _validated(self, X: Any, reset: bool = False) -> np.ndarray:
        """Examples [N, D] as scikit-learn checks them.

        Booleans and bytes keep their type, which says what range is meant. Other whole numbers are
        real ones here: which of them a fold happens to hold must not choose the model.
        """
        X = validate_data(
            self,
            X,
            reset=reset,
            ensure_all_finite="allow-nan" if self._takes_missing else True,
            ensure_non_negative=self.non_negative,
            ensure_min_samples=2 if reset else 1,
            ensure_min_features=self.least_features if reset else 1,
        )
        is_number = X.dtype.kind in "iu" and X.dtype != np.uint8
        return X.astype(np.float64) if is_number else X

    def _shaped(self, X: np.ndarray) -> np.ndarray:
        """Examples in the shape that the model knows."""
        return X

    def _data(self, X: np.ndarray) -> DataSet:
        """All examples for training: what is held out is the business of who calls."""
        examples = examples_of(self._shaped(X), "X")
        return DataSet(NAME, {"train": Split(examples.values)}, examples.max_value)

    @property
    def _seed(self) -> int:
        """A whole number is the seed of `ae_jax.fit` itself."""
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(_SEEDS - 1))


def _best_score(model: Fitted) -> str:
    """The kind of score that says most of a model."""
    if hasattr(model.params, "log_prob"):  # a codec with a density
        return "log_likelihood"
    deterministic = any(part.is_deterministic for part in model.setup.code_shapes())
    return "reconstruction" if deterministic else "bound"
