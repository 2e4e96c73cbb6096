"""What `held_out_digit` makes of scores: statistics of each held-out digit, and its table."""

import dataclasses

import numpy as np

from ae_jax.eval.roc import Roc, auc, background_rejection, bootstrapped
from ae_jax.lab import Rows

REPLICATES = 500
METHODS = ("autoencoder", "PCA")


@dataclasses.dataclass(frozen=True)
class Scored:
    """One held-out digit: scores [N] of test digits by method and seed, and their classes [N]."""

    digit: int
    scores: dict[tuple[str, int], np.ndarray]
    classes: np.ndarray

    @property
    def anomalous(self) -> np.ndarray:
        return self.classes == self.digit

    def of(self, method: str) -> list[tuple[str, int]]:
        return [key for key in self.scores if key[0] == method]

    def values(self, method: str, statistic=auc, *more: float) -> float:
        """A statistic of the method, the mean of its seeds."""
        found = [statistic(self.scores[k], self.anomalous, *more) for k in self.of(method)]
        return float(np.mean(found))

    def replicates(self) -> dict[str, np.ndarray]:
        """AUC of resampled test digits by method, the mean of its seeds, [R].

        Drawn within each class: a resample is the same whichever digit is held out.
        """
        drawn = {"groups": self.classes, "replicates": REPLICATES}
        found = bootstrapped(self.scores, self.anomalous, Roc.auc, **drawn)
        return {m: np.mean([found[key] for key in self.of(m)], axis=0) for m in METHODS}


def digit_rows(found: list[Scored], again: list[dict[str, np.ndarray]]) -> Rows:
    """One row a held-out digit."""
    rows = []
    for one, replicates in zip(found, again, strict=True):
        row = {"held out": one.digit}
        for method in METHODS:
            row[method] = one.values(method)
            row[f"{method} ±"] = float(replicates[method].std(ddof=1))
        row["difference"] = row["autoencoder"] - row["PCA"]
        row["±"] = float((replicates["autoencoder"] - replicates["PCA"]).std(ddof=1))
        for method in METHODS:
            row[f"{method} 1/εb at 50%"] = one.values(method, background_rejection, 0.5)
        rows.append(row)
    return rows


def mean_rows(found: list[Scored], again: list[dict[str, np.ndarray]]) -> Rows:
    """The mean over held-out digits, with its error of test digits and the spread of the ten."""
    methods = {m: np.array([one.values(m) for one in found]) for m in METHODS}
    drawn = {m: np.mean([one[m] for one in again], axis=0) for m in METHODS}
    methods["difference"] = methods["autoencoder"] - methods["PCA"]
    drawn["difference"] = drawn["autoencoder"] - drawn["PCA"]
    return [
        {
            "AUC": name,
            "mean": float(values.mean()),
            "±": float(drawn[name].std(ddof=1)),
            "least": float(values.min()),
            "most": float(values.max()),
            "deviation over digits": float(values.std(ddof=1)),
        }
        for name, values in methods.items()
    ]
