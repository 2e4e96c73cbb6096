"""What `held_out_digit` makes of scores: statistics of each held-out digit, and its table."""

import dataclasses

import numpy as np

from ae_jax.eval.roc import Roc, auc, background_rejection, bootstrapped
from ae_jax.lab import Rows

REPLICATES = 500
METHODS = ("autoencoder", "PCA")


@dataclasses.dataclass(frozen=True)
class Scored:
    """One held-out digit: scores [N] of test digits by method and seed, and which are of it."""

    digit: int
    scores: dict[tuple[str, int], np.ndarray]
    anomalous: np.ndarray

    def of(self, method: str) -> list[tuple[str, int]]:
        return [key for key in self.scores if key[0] == method]

    def values(self, method: str, statistic=auc, *more: float) -> float:
        """A statistic of the method, the mean of its seeds."""
        found = [statistic(self.scores[k], self.anomalous, *more) for k in self.of(method)]
        return float(np.mean(found))

    def replicates(self) -> dict[str, np.ndarray]:
        """AUC of resampled test digits by method, the mean of its seeds, [R]."""
        found = bootstrapped(self.scores, self.anomalous, Roc.auc, replicates=REPLICATES)
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
