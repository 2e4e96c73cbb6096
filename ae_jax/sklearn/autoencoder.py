"""The estimator of networks."""

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import ae_jax
from ae_jax.api import Fitted
from ae_jax.core.errors import UserError, shortened
from ae_jax.data.base import DataSet, Split
from ae_jax.objectives import OBJECTIVES
from ae_jax.sklearn.base import NAME, Estimator

# What `ae_jax.fit` takes beside options: this class gives it, or has no use for it.
_FITS_OWN = inspect.signature(ae_jax.fit).parameters.keys() - {"options"}


@dataclasses.dataclass(eq=False, repr=False)
class Autoencoder(Estimator):
    """An autoencoder, by default a variational one: `ae_jax.fit` on all examples.

    latent_dim           size of the code
    hidden               sizes of the encoder's layers; the decoder has them in reverse
    objective            `elbo`, `iwae`, `reconstruction`, `sparse_l1`, ...: `ae-jax list` tells
    head                 p(x|z): `auto` is `bernoulli` for data in [0, 1], else `gaussian`
    activation           of hidden layers
    optimiser            `adam`, `sgd`, ...
    learning_rate        None is that of the optimiser
    batch_size           examples a step, or all where there are fewer
    epochs               passes over the examples
    patience             stop after so many epochs without a better bound on examples held out
    validation_fraction  the share of examples that `patience` holds out
    image_shape          (height, width) or (height, width, channels) of rows that are images, for
                         convolutions
    options              any other option of `ae_jax.fit` by its name: {"beta": 4.0}
    progress             whether a bar shows the epochs; None: in terminals and notebooks
    preprocess           of the library, such as `standardization`; `auto`: only bytes are scaled
    score_kind           what `score` says: `auto` is the evidence lower bound, or, of a code that
                         is not random, minus the squared error
    random_state         of weights, order and noise; a whole number is the seed of `ae_jax.fit`
    """

    latent_dim: int = 20

    _: dataclasses.KW_ONLY
    hidden: tuple[int, ...] = (500,)
    objective: str = "elbo"
    head: str = "auto"
    activation: str = "tanh"
    optimiser: str = "adam"
    learning_rate: float | None = None
    batch_size: int = 100
    epochs: int = 10
    patience: int | None = None
    validation_fraction: float = 0.1
    image_shape: tuple[int, ...] | None = None
    options: Mapping[str, Any] | None = None
    progress: bool | None = False

    def _fit(self, X: np.ndarray) -> Fitted:
        data = self._data(X)
        size, count = self.batch_size, len(data.splits["train"])
        if isinstance(size, int | np.integer):
            size = min(size, count)
        given = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return ae_jax.fit(
            data,
            latent_dim=self.latent_dim,
            hidden=self.hidden,
            objective=self.objective,
            head=self.head,
            activation=self.activation,
            optimiser=self.optimiser,
            train__batch_size=size,
            epochs=self.epochs,
            patience=self.patience,
            preprocess=self.preprocess,
            train__seed=self._seed,
            progress=self.progress,
            **given,
            **self._more_options(),
        )

    def _more_options(self) -> dict[str, Any]:
        if self.options is None:
            return {}
        if not isinstance(self.options, Mapping):
            raise UserError(
                f"options are a table of names and values, not {shortened(repr(self.options))}"
            )
        own = {*self.get_params(deep=False), "train__batch_size"}
        elsewhere = {*_FITS_OWN, "seed", "train__seed"}
        for name in self.options:
            if not isinstance(name, str):
                raise UserError(f"options are a table of names and values, and {name!r} is no name")
            if name in own:
                raise UserError(f"{name} is a parameter of its own, and no part of options")
            if name in elsewhere:
                raise UserError(
                    f"{name} is no part of options: an estimator says it, or takes none"
                )
        return dict(self.options)

    def _data(self, X: np.ndarray) -> DataSet:
        """The examples, of which `patience` holds some out for validation."""
        data = super()._data(X)
        if self.patience is None:
            return data
        x, share = data.splits["train"].x, self.validation_fraction
        is_share = isinstance(share, float | int) and 0 < share < 1
        held = round(share * len(x)) if is_share else 0
        if not 0 < held < len(x):
            raise UserError(
                f"patience={self.patience} holds out examples, and validation_fraction={share} "
                f"of {len(x)} are none or all of them"
            )
        order = np.random.RandomState(self._seed).permutation(len(x))
        splits = {"train": Split(x[order[held:]]), "valid": Split(x[order[:held]])}
        return DataSet(NAME, splits, data.max_value)

    def _shaped(self, X: np.ndarray) -> np.ndarray:
        if self.image_shape is None:
            return X
        shape = tuple(np.atleast_1d(self.image_shape).tolist())
        if not all(isinstance(n, int) and n > 0 for n in shape):
            raise UserError(f"image_shape is of positive whole numbers, not {self.image_shape!r}")
        size = math.prod(shape)
        if size != X.shape[1]:
            raise UserError(
                f"X has {X.shape[1]} features, and image_shape={shape} has {size} values"
            )
        return X.reshape(len(X), *shape)

    @property
    def _takes_missing(self) -> bool:
        known = self.objective in OBJECTIVES
        return known and OBJECTIVES.get(self.objective).accepts_missing
