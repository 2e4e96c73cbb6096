"""How well the dimensions of a code tell apart the factors that examples were made from.

Codes are means of the posterior, z [N, Z]; factors are whole numbers v [N, F], one column a factor,
each of at least two values.
Every measure is 1 (or as said) where each dimension is a function of one factor of its own, and
near 0 where all dimensions tell all factors alike. Which model is best depends on the measure
(Locatello et al. 2019): they are given together.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Integer

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count, NonNegative
from ae_jax.data.passes import EvaluationData
from ae_jax.eval.codes import labelled_codes


@dataclasses.dataclass(frozen=True)
class Disentanglement(Checked):
    """All measures of this file over the evaluated split, which needs factors.

    bins      of equal width that a dimension is cut into for its mutual information (Locatello et
              al. 2019: 20)
    votes     of the FactorVAE score, half of them to learn from; each of `together` examples
    active    a dimension whose mean varies less over examples (Burda et al. 2016) has no vote

    Returns `mig`, `sap`, `dci_disentanglement`, `dci_completeness`, `dci_informativeness` and
    `factor_vae_score`. What is drawn at random is so by the key. Mutual information is plugged in
    from counts, and too large by about (bins - 1)(values - 1) / 2N nats: take many examples.
    Factors that are the same for all of them are left out. Of a code of one dimension the
    completeness is 1, whatever it tells.
    """

    bins: Count = 20
    votes: Count = 800
    together: Count = 64
    active: NonNegative = 0.01

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """Raises UserError for examples whose factors are not known."""
        if data.factors is None:
            raise UserError(
                "disentanglement needs the factors that examples were made from, and the data has "
                "none; the data set shapes has"
            )
        factors = np.asarray(data.factors)
        if not np.array_equal(factors, np.round(factors)):  # nor where one is not known, NaN
            raise UserError(
                "disentanglement needs factors that are whole numbers, each of a few values: cut "
                "those that are measured into classes"
            )
        factors = factors[:, (factors != factors[:1]).any(axis=0)].astype(np.int64)
        if factors.shape[1] < 2:
            raise UserError(
                "disentanglement needs examples of which two factors or more differ: one is told "
                "apart from nothing"
            )
        found = data.rows(labelled_codes, module, variables, key)
        codes, labels = found["code"].astype(np.float64), found.get("label")
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
        disentangled, complete, informed = dci(codes, factors, int(rng.integers(2**31)))
        return {
            "mig": mutual_information_gap(codes, factors, self.bins),
            "sap": attribute_gap(codes, factors, labels),
            "dci_disentanglement": disentangled,
            "dci_completeness": complete,
            "dci_informativeness": informed,
            "factor_vae_score": factor_vae_score(
                codes, factors, rng, self.votes, self.together, self.active
            ),
        }


def mutual_information_gap(
    codes: Float[np.ndarray, "N Z"], factors: Integer[np.ndarray, "N F"], bins: int = 20
) -> float:
    """MIG (Chen et al. 2018, Eq. 6): of each factor, how much more the dimension that tells most of
    it tells than the next one, I(z_j; v_k) as a share of H(v_k); mean over factors."""
    told = np.array([[_information(_cut(z, bins), v) for v in factors.T] for z in codes.T])
    entropies = np.array([_information(v, v) for v in factors.T])
    return float(np.mean(_gaps(told) / entropies))


def attribute_gap(
    codes: Float[np.ndarray, "N Z"],
    factors: Integer[np.ndarray, "N F"],
    labels: Integer[np.ndarray, " N"] | None,
) -> float:
    """SAP (Kumar et al. 2018): of each factor, how much better the best single dimension predicts
    it than the next one; mean over factors.

    A factor that is the label is a class, and the score is the balanced accuracy of thresholds on
    the dimension, as many as tell that many classes apart, on the half of the examples that did not
    choose them: the gap is 1 - 1/classes at most. Any other has an order, and the score is the
    squared correlation.
    """
    scores = np.array([[_predicted(z, v, labels) for v in factors.T] for z in codes.T])
    return float(np.mean(_gaps(scores)))


def dci(
    codes: Float[np.ndarray, "N Z"], factors: Integer[np.ndarray, "N F"], seed: int
) -> tuple[float, float, float]:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018, Sec. 2).

    Of each factor bagged trees on half of the examples, which may split at any dimension; their
    importances are a column of R [Z, F]. Disentanglement is 1 - H(R's rows, normalised) in units of
    log F, weighted by what a dimension matters; completeness is that of its columns in units of
    log Z, mean over factors; informativeness is the accuracy on the other half, mean over factors.
    """
    from sklearn.ensemble import RandomForestClassifier  # slow to import, and rarely used

    order = np.random.default_rng(seed).permutation(len(codes))
    fit, score = order[: len(order) // 2], order[len(order) // 2 :]

    def trees() -> RandomForestClassifier:
        return RandomForestClassifier(50, max_features=None, min_samples_leaf=3, random_state=seed)

    forests = [trees().fit(codes[fit], v[fit]) for v in factors.T]
    importance = np.stack([forest.feature_importances_ for forest in forests], axis=1)
    scored = zip(forests, factors.T, strict=True)
    accuracy = [forest.score(codes[score], v[score]) for forest, v in scored]
    total = importance.sum()  # 0 where no dimension tells anything
    weights = importance.sum(axis=1) / (total if total > 0 else 1.0)
    return (
        float(weights @ _concentration(importance)),
        float(np.mean(_concentration(importance.T))),
        float(np.mean(accuracy)),
    )


def factor_vae_score(
    codes: Float[np.ndarray, "N Z"],
    factors: Integer[np.ndarray, "N F"],
    rng: np.random.Generator,
    votes: int = 800,
    together: int = 64,
    active: float = 0.01,
) -> float:
    """The score of Kim & Mnih (2018, Sec. 4): which factor was held fixed, told by the dimension
    that varies least.

    A vote fixes a random factor at a random value, draws `together` examples that have it, and
    names the dimension whose variance is the smallest share of its variance over all. Half of the
    votes say which factor each dimension stands for, by majority; the score is the share of the
    others that it tells right. Dimensions whose variance is below `active` have no vote; without
    any other the score is that of the most frequent factor. Raises UserError for fewer than two
    votes.
    """
    if votes < 2:
        raise UserError(f"of {votes} votes none is left to learn from: take two or more")
    spread = codes.var(axis=0)
    codes = codes[:, spread >= active]
    spread = spread[spread >= active]
    fixed = rng.integers(factors.shape[1], size=votes)
    dimension = np.zeros(votes, int)
    for vote, factor in enumerate(fixed):
        column = factors[:, factor]
        rows = np.flatnonzero(column == rng.choice(column))
        chosen = codes[rng.choice(rows, together)]
        if len(spread):
            dimension[vote] = (chosen.var(axis=0) / spread).argmin()
    half = votes // 2
    counts = np.zeros((max(len(spread), 1), factors.shape[1]), int)
    np.add.at(counts, (dimension[:half], fixed[:half]), 1)
    return float(np.mean(counts.argmax(axis=1)[dimension[half:]] == fixed[half:]))


def _gaps(scores: np.ndarray) -> np.ndarray:
    """Of each column of [Z, F], the largest less the next; alone, the largest less 0."""
    padded = np.sort(np.vstack([np.zeros(scores.shape[1]), scores]), axis=0)
    return padded[-1] - padded[-2]


def _cut(values: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each value, of equal widths from the smallest to the largest."""
    edges = np.histogram_bin_edges(values, bins)
    return np.digitize(values, edges[1:-1])


def _information(a: np.ndarray, b: np.ndarray) -> float:
    """I(a; b) of whole numbers, nats, from their counts."""
    from sklearn.metrics import mutual_info_score

    return max(0.0, float(mutual_info_score(a, b)))


def _predicted(z: np.ndarray, v: np.ndarray, labels: np.ndarray | None) -> float:
    """How well one dimension predicts one factor, [0, 1]."""
    if labels is not None and np.array_equal(labels, v):
        from sklearn.metrics import balanced_accuracy_score
        from sklearn.tree import DecisionTreeClassifier

        # Every other example, in an order that no factor follows.
        order = np.random.default_rng(0).permutation(len(z))
        fit, score = order[::2], order[1::2]
        tree = DecisionTreeClassifier(
            max_leaf_nodes=max(2, len(np.unique(v))), class_weight="balanced", random_state=0
        ).fit(z[fit, None], v[fit])
        return float(balanced_accuracy_score(v[score], tree.predict(z[score, None])))
    about, apart = z - z.mean(), v - v.mean()
    scale = np.sum(about**2) * np.sum(apart**2)
    return float(np.sum(about * apart) ** 2 / scale) if scale > 0 else 0.0


def _concentration(importance: np.ndarray) -> np.ndarray:
    """Of each row [A, B], 1 - its entropy in units of log B; 0 for rows of zeros, 1 if B is 1."""
    count = importance.shape[1]
    if count == 1:
        return np.ones(len(importance))
    total = importance.sum(axis=1, keepdims=True)
    shares = importance / np.where(total > 0, total, 1.0)
    entropy = -np.sum(
        np.where(shares > 0, shares * np.log(np.maximum(shares, 1e-300)), 0.0), axis=1
    )
    return np.where(total[:, 0] > 0, 1 - entropy / np.log(count), 0.0)
