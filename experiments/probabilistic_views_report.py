"""What the limits of probabilistic autoencoders show: tables, claims and figures."""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.lab import Rows, Shown
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import Claim, at_least, at_most, close_to
from experiments.baselines import one_of_each
from experiments.limits import slope

SMALL = 0.1  # rates are taken at variances up to this, in units of the fitted one
SHOWN = (10.0, 1.0, 0.1)
RATE = "d log / d log s"
THEORY = "expansion in s"


@dataclasses.dataclass(frozen=True)
class Limit:
    """Codecs by variance in units of `unit`, what they go to, and how far they are from it."""

    unit: float
    soft: dict[float, Fitted]
    hard: Fitted
    rows: Rows

    @property
    def ratios(self) -> np.ndarray:
        return np.array(list(self.soft))

    def column(self, name: str) -> np.ndarray:
        return np.array([row[name] for row in self.rows])

    def rate(self, name: str) -> float:
        """The slope of log against log over the small variances."""
        small = self.ratios <= SMALL
        return slope(self.ratios[small], self.column(name)[small])

    def least_exact(self, name: str) -> float:
        """Measured over predicted, where it is farthest from 1 among the small variances."""
        quotients = (self.column(name) / self.column(f"predicted {name}"))[self.ratios <= SMALL]
        return float(max(quotients, key=lambda quotient: abs(quotient - 1)))


def table(limit: Limit) -> Rows:
    """One row a variance, numbers to four digits."""
    return [
        {"variance": ratio} | {name: float(f"{value:.4g}") for name, value in row.items()}
        for ratio, row in zip(limit.soft, limit.rows, strict=True)
    ]


def claims(clusters: Limit, subspace: Limit, spread: float) -> list[Claim]:
    """Rates and constants of the limits, and how near the smallest variance is to them."""

    def exact(name: str, value: float) -> Claim:
        return close_to(name, value, 1.0, 0.01, "measured over predicted", THEORY)

    smallest = clusters.rows[-1]
    quotient = smallest["loss gap"] / smallest["predicted loss gap"]
    apart = 100 * smallest["centre distance"] / np.sqrt(spread)
    return [
        close_to(
            "k-means: the gap of the loss falls as s",
            clusters.rate("loss gap"),
            1.0,
            0.02,
            RATE,
            THEORY,
        ),
        exact("k-means: the gap of the loss at the smallest variance is 2 s H", quotient),
        *(
            at_least(
                f"k-means: the {name} falls at least as fast as s",
                clusters.rate(name),
                1.0,
                0.1,
                RATE,
                THEORY,
            )
            for name in ("doubt", "centre distance")
        ),
        at_least(
            "k-means: likeliest clusters at the smallest variance are those of the nearest centres",
            smallest["same clusters"],
            1.0,
            0.001,
            "share of examples",
            "the limit",
        ),
        at_most(
            "k-means: distance of the centres at the smallest variance",
            apart,
            0.0,
            0.1,
            "% of the root mean square about the mean",
            "the limit",
        ),
        close_to(
            "PCA: the distance of reconstructions falls as s",
            subspace.rate("distance"),
            1.0,
            0.01,
            RATE,
            THEORY,
        ),
        exact("PCA: that distance is s sqrt(sum_j 1 / v_j)", subspace.least_exact("distance")),
        exact(
            "PCA: the gap of the loss is s sum_j (1 + log(v_j / s))",
            subspace.least_exact("loss gap"),
        ),
    ]


def pictures(dataset: DataSet, clusters: Limit, subspace: Limit, spread: float) -> dict[str, Shown]:
    def rate(limit: Limit, name: str, unit: float) -> comparisons.Rate:
        known = f"predicted {name}" in limit.rows[0]
        predicted = limit.column(f"predicted {name}") / unit if known else None
        return comparisons.Rate(limit.ratios, limit.column(name) / unit, predicted)

    size = float(np.sqrt(spread))
    panels = {
        "mixture to k-means": {
            "loss": rate(clusters, "loss gap", spread),
            "codes, from one-hot": rate(clusters, "doubt", 1.0),
            "centres": rate(clusters, "centre distance", size),
        },
        "probabilistic PCA to PCA": {
            "loss": rate(subspace, "loss gap", spread),
            "reconstructions": rate(subspace, "distance", size),
        },
    }
    examples = dataset.splits["train"]
    chosen = examples.x[one_of_each(examples)]
    rows = {}
    for name, limit in (("mixture", clusters), ("probabilistic PCA", subspace)):
        shown = {
            f"{name}, s = {ratio:g}": limit.soft[ratio] for ratio in SHOWN if ratio in limit.soft
        }
        shown |= {"k-means" if limit is clusters else "PCA": limit.hard}
        rows |= {
            label: np.clip(model.reconstruct(chosen, units="model"), 0, 1)
            for label, model in shown.items()
        }
    return {
        "limits": Shown(
            comparisons.rates(
                panels, "variance of p(x|z) over the fitted one", "distance from the limit"
            ),
            "Two limits as the variance goes to 0",
            "Lines alone are predicted from the limit, markers on them are measured. Losses are in "
            "units of the squares about the mean, lengths of their root.",
        ),
        "reconstructions": Shown(
            figures.reconstructions(clusters.hard.inputs(chosen), rows),
            "Training examples decoded from their mean codes",
            "Variances s are multiples of the fitted one.",
        ),
    }
