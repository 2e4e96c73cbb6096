"""What the codes of a model are like, whatever it reconstructs."""

import dataclasses
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count, NonNegative, Positive
from ae_jax.data.passes import EvaluationData
from ae_jax.models import Batch, BoundModel


@dataclasses.dataclass(frozen=True)
class CodeUse(Checked):
    """How much of the code is in use; the code is the posterior mean.

    A unit is active on an example where its absolute value is above `threshold`. Returns `l0`
    (active units an example), `dead_units` (those active on no example) and `mean_activation`
    (over examples and units).
    """

    threshold: NonNegative = 0.0

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        sums, count = data.sums(self.values_of, module, variables, key), len(data.split)
        return {
            "l0": float(sums["active"].sum() / count),
            "dead_units": float((sums["active"] == 0).sum()),
            "mean_activation": float(sums["code"].mean() / count),
        }

    def values_of(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        """{active, code: [B, Z]} of a batch."""
        code = mean_codes(model, batch, key)["code"]
        return {"active": (jnp.abs(code) > self.threshold).astype(code.dtype), "code": code}


@dataclasses.dataclass(frozen=True)
class LinearProbe(Checked):
    """Accuracy of logistic regression on standardised codes: what they tell of the labels.

    Cross-validated within the evaluated split, in `folds` stratified parts, unless `train` holds
    other examples to fit on. `strength` is the inverse of the L2 penalty (scikit-learn's C).
    """

    folds: Annotated[Count, Field(ge=2)] = 5
    strength: Positive = 1.0
    train: EvaluationData | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train is not None and self.folds != type(self).folds:
            raise UserError("folds part the evaluated split, and train holds what is fitted on")

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """{linear_probe_accuracy}. Raises UserError without labels, or with too few of a kind."""
        from sklearn.model_selection import StratifiedKFold  # slow to import, and rarely used

        codes, labels = _labelled(module, variables, data, key)
        if self.train is not None:
            parts = [(_labelled(module, variables, self.train, key), (codes, labels))]
        else:
            smallest = np.unique(labels, return_counts=True)[1].min()
            if smallest < self.folds:
                raise UserError(
                    f"a probe in {self.folds} folds needs as many examples of each label; one has "
                    f"{smallest}"
                )
            folds = StratifiedKFold(self.folds).split(codes, labels)
            parts = [((codes[a], labels[a]), (codes[b], labels[b])) for a, b in folds]
        scores = [probe_accuracy(fit, score, self.strength) for fit, score in parts]
        sizes = [len(score[1]) for _, score in parts]
        return {"linear_probe_accuracy": float(np.average(scores, weights=sizes))}


def probe_accuracy(
    fit: tuple[np.ndarray, np.ndarray], score: tuple[np.ndarray, np.ndarray], strength: float = 1.0
) -> float:
    """Share of labels that logistic regression gets right; both are codes [N, Z], labels [N]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Standardised, so that neither the penalty nor the solver depends on the scale of the code.
    classifier = LogisticRegression(C=strength, max_iter=2000)
    return float(make_pipeline(StandardScaler(), classifier).fit(*fit).score(*score))


def _labelled(
    module: Any, variables: Any, data: EvaluationData, key: Array
) -> tuple[np.ndarray, np.ndarray]:
    if data.split.y is None:
        raise UserError("a linear probe needs labels, and the data has none")
    found = data.rows(labelled_codes, module, variables, key)
    if len(np.unique(found["label"])) < 2:
        raise UserError("a linear probe needs at least two kinds of labels")
    return found["code"].astype(np.float64), found["label"]


def labelled_codes(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    """{code: [B, Z]} of a batch, and {label: [B]} where there are labels."""
    labels = {"label": batch["y"]} if "y" in batch else {}
    return {**mean_codes(model, batch, key), **labels}


def mean_codes(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    """{code: [B, Z]} of a batch: means of the posterior."""
    return {"code": model.encode(batch).mean()}
