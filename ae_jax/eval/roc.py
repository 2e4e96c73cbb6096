"""How well scores tell anomalies from the rest: ROC, AUC, background rejection, and their spread.

Higher scores are more anomalous. In the words of particle physics, examples are signal (anomalies)
and background, and a cut accepts all that score above it: the signal efficiency is the share of the
signal accepted (true-positive rate), the background efficiency that of the background
(false-positive rate), and the background rejection 1 over the latter.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Real, Shaped

from ae_jax.core.errors import UserError

Name = TypeVar("Name", bound=Hashable)  # of a method, or of a method and its seed

_CHUNK = 50  # bootstrap samples at once: a few tens of megabytes for 100,000 examples


@dataclasses.dataclass(frozen=True, eq=False)
class Roc:
    """Efficiencies of all cuts from the highest to none, [..., G], from 0 to 1.

    Examples of one score pass a cut together, so that there is one point a value. The leading axes
    are those of the weights that the curve was taken with.
    """

    background: Float[np.ndarray, "*curves G"]
    signal: Float[np.ndarray, "*curves G"]

    def auc(self) -> Float[np.ndarray, "*curves"]:
        """The area below the signal efficiency over that of the background, [...].

        How likely an anomaly scores above a background example, with one half for ties.
        """
        return np.asarray(np.trapezoid(self.signal, self.background, axis=-1))

    def background_at(self, efficiency: float) -> Float[np.ndarray, "*curves"]:
        """The background efficiency at a signal efficiency in (0, 1], [...].

        The least one that reaches it, on lines between neighbouring points.
        """
        if not 0 < efficiency <= 1:
            raise UserError(f"a signal efficiency lies above 0 and up to 1, not at {efficiency:g}")
        # Sums of weights may end a rounding below 1.
        reached = self.signal >= min(efficiency, 1 - 1e-12)
        after = np.argmax(reached, axis=-1)[..., None]
        at = [np.take_along_axis(x, after, -1)[..., 0] for x in (self.signal, self.background)]
        before = [
            np.take_along_axis(x, after - 1, -1)[..., 0] for x in (self.signal, self.background)
        ]
        share = (efficiency - before[0]) / (at[0] - before[0])
        return np.asarray(before[1] + np.minimum(share, 1.0) * (at[1] - before[1]))

    def rejection(self, efficiency: float) -> Float[np.ndarray, "*curves"]:
        """The background rejection at a signal efficiency, [...]; infinite where none is left."""
        with np.errstate(divide="ignore"):
            return np.asarray(1.0 / self.background_at(efficiency))


def roc(
    scores: Real[np.ndarray, "..."],
    anomalous: Shaped[np.ndarray, "..."],
    weights: Real[np.ndarray, "*curves N"] | None = None,
) -> Roc:
    """The curve of scores [N], given which examples are `anomalous`, bool [N].

    Examples count by `weights` [..., N], all alike by default. Raises UserError for scores that are
    NaN, for examples of one kind only and where all of one kind weigh nothing.
    """
    scores, anomalous = _checked(scores, anomalous)
    weights = np.ones(len(scores)) if weights is None else _weights(weights, len(scores))
    if not all((weights[..., kind].sum(axis=-1) > 0).all() for kind in (anomalous, ~anomalous)):
        raise UserError("a ROC needs anomalies and other examples that have a weight")
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    # Compared, not subtracted: two that are infinite are tied too.
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(scores) - 1)
    ordered, is_signal = weights[..., order], anomalous[order]

    def share(of: np.ndarray) -> np.ndarray:
        summed = np.cumsum(ordered * of, axis=-1)
        points = summed[..., ends] / summed[..., -1:]
        return np.concatenate([np.zeros((*points.shape[:-1], 1)), points], axis=-1)

    return Roc(share(~is_signal), share(is_signal))


def auc(scores: Real[np.ndarray, " N"], anomalous: Bool[np.ndarray, " N"]) -> float:
    """The area under the ROC of scores [N]; `anomalous` is bool [N]."""
    return float(roc(scores, anomalous).auc())


def background_rejection(
    scores: Real[np.ndarray, " N"], anomalous: Bool[np.ndarray, " N"], efficiency: float
) -> float:
    """1 over the background efficiency at a signal efficiency, of scores [N]."""
    return float(roc(scores, anomalous).rejection(efficiency))


def bootstrapped(
    scores: Mapping[Name, Real[np.ndarray, " N"]],
    anomalous: Shaped[np.ndarray, " N"],
    statistic: Callable[[Roc], np.ndarray],
    *,
    weights: Real[np.ndarray, "..."] | None = None,
    groups: Shaped[np.ndarray, "..."] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[Name, Float[np.ndarray, "replicates ..."]]:
    """A statistic of the ROC of each method on resampled examples, [replicates] by name.

    Signal and background are drawn with replacement, each in its own number (Efron & Tibshirani
    1993, Ch. 8); with `groups` [N], such as classes, each group in its own. Calls with the same
    groups and seed draw the same examples, whatever is anomalous. A resample is the same for all
    methods: the spread of a difference between two of them is that of the differences, as they are
    `paired`. `weights` [N] are of the examples themselves. The statistic is given a `Roc` of
    several curves. Raises UserError where a group holds both kinds.
    """
    if not scores:
        raise UserError("there are no scores to resample: give those of a method by its name")
    for values in scores.values():
        _, anomalous = _checked(values, anomalous)
    if weights is not None:
        weights = _weights(weights, len(anomalous))
    drawn_within = anomalous if groups is None else _groups(groups, anomalous)
    rng = np.random.default_rng(seed)
    found: dict[Name, list[np.ndarray]] = {name: [] for name in scores}
    for start in range(0, replicates, _CHUNK):
        counts = _resampled(drawn_within, min(_CHUNK, replicates - start), rng)
        counts = counts if weights is None else counts * weights
        if not all((counts[:, kind].sum(axis=1) > 0).all() for kind in (anomalous, ~anomalous)):
            raise UserError(
                "in a resample all examples of one kind weigh nothing: too few have a weight"
            )
        for name, values in scores.items():
            found[name].append(statistic(roc(values, anomalous, counts)))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def paired(replicates: Mapping[Name, np.ndarray], one: Name, other: Name) -> float:
    """The standard error of the difference between two methods that saw the same resamples.

    Raises UserError where a resample has no finite value, as a background rejection may have none.
    """
    endless = ~np.isfinite(replicates[one]) | ~np.isfinite(replicates[other])
    if endless.any():
        raise UserError(
            f"{endless.sum()} of {endless.size} resamples have no finite value, so that there is "
            "no error of a difference: compare background efficiencies, not rejections"
        )
    return float(np.std(replicates[one] - replicates[other], ddof=1))


def _weights(weights: Any, count: int) -> np.ndarray:
    weights = np.asarray(weights, np.float64)
    if weights.shape[-1:] != (count,) or not (weights >= 0).all():
        raise UserError(f"weights are [..., {count}] and not negative, as many as the scores")
    return weights


def _groups(groups: Any, anomalous: np.ndarray) -> np.ndarray:
    groups = np.asarray(groups)
    if groups.shape != anomalous.shape:
        raise UserError(f"groups are [{len(anomalous)}], one an example, not {groups.shape}")
    for group in np.unique(groups):
        kinds = anomalous[groups == group]
        if kinds.any() != kinds.all():
            raise UserError(f"group {group} holds anomalies and others: a resample would mix them")
    return groups


def _resampled(groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """How often each example is drawn, [count, N]."""
    drawn = np.zeros((count, len(groups)))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        chosen = rng.integers(len(members), size=(count, len(members)))
        for row, places in zip(drawn, chosen, strict=True):
            row[members] = np.bincount(places, minlength=len(members))
    return drawn


def _checked(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, given = np.asarray(scores, np.float64), np.asarray(anomalous)
    if not np.isin(given, (0, 1)).all():
        raise UserError("what is anomalous is true or false of each example, or 1 or 0")
    anomalous = given.astype(bool)
    if scores.ndim != 1 or scores.shape != anomalous.shape:
        raise UserError(
            f"scores and what is anomalous are both [N], not {scores.shape} and {anomalous.shape}"
        )
    if np.isnan(scores).any():
        raise UserError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN")
    if anomalous.all() or not anomalous.any():
        raise UserError("a ROC needs anomalies and other examples, and all are of one kind")
    return scores, anomalous
