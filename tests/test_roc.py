"""ROC, AUC and rejections against scikit-learn; their spread against DeLong's closed form."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from ae_jax.core.errors import UserError
from ae_jax.eval.roc import (
    Roc,
    auc,
    background_rejection,
    bootstrapped,
    paired,
    roc,
)

RNG = np.random.default_rng(3)
ANOMALOUS = RNG.random(400) < 0.4
SMOOTH = RNG.normal(size=400) + ANOMALOUS
COARSE = np.round(SMOOTH)  # ties within and across kinds
SCORES = {"smooth": SMOOTH, "coarse": COARSE, "constant": np.zeros(400)}


@pytest.mark.parametrize("name", list(SCORES))
@pytest.mark.parametrize("weighted", [False, True])
def test_curve_and_area_are_those_of_scikit_learn(name, weighted):
    scores = SCORES[name]
    weights = np.random.default_rng(0).integers(0, 4, 400).astype(float) if weighted else None
    curve = roc(scores, ANOMALOUS, weights)
    background, signal, _ = roc_curve(
        ANOMALOUS, scores, sample_weight=weights, drop_intermediate=False
    )
    # Where examples weigh nothing, scikit-learn may leave their points out.
    assert set(zip(background.round(9), signal.round(9), strict=True)) <= set(
        zip(curve.background.round(9), curve.signal.round(9), strict=True)
    )
    expected = roc_auc_score(ANOMALOUS, scores, sample_weight=weights)
    assert curve.auc() == pytest.approx(expected, abs=1e-12)


def test_the_area_is_how_likely_an_anomaly_scores_higher():
    pairs = COARSE[ANOMALOUS][:, None] - COARSE[~ANOMALOUS][None]
    assert auc(COARSE, ANOMALOUS) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert auc(-COARSE, ANOMALOUS) == pytest.approx(1 - auc(COARSE, ANOMALOUS))


@pytest.mark.parametrize("name", list(SCORES))
@pytest.mark.parametrize("efficiency", [0.01, 0.3, 0.5, 1.0])
def test_rejection_is_read_off_the_curve_of_scikit_learn(name, efficiency):
    background, signal, _ = roc_curve(ANOMALOUS, SCORES[name], drop_intermediate=False)
    # The least background that reaches the efficiency, on a line from the point before.
    after = np.flatnonzero(signal >= efficiency)[0]
    share = (efficiency - signal[after - 1]) / (signal[after] - signal[after - 1])
    at = background[after - 1] + share * (background[after] - background[after - 1])
    with np.errstate(divide="ignore"):
        expected = 1 / at
    found = background_rejection(SCORES[name], ANOMALOUS, efficiency)
    assert found == pytest.approx(expected)


def test_rejection_by_hand():
    scores = np.array([5, 4, 3, 2, 1, 0.0])
    anomalous = np.array([True, False, True, False, False, False])
    assert background_rejection(scores, anomalous, 1.0) == 4.0  # one of four scores above 3
    assert background_rejection(scores, anomalous, 0.5) == np.inf
    constant = np.zeros(6)
    assert background_rejection(constant, anomalous, 0.3) == pytest.approx(1 / 0.3)


def placements(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each anomaly scores above the others, and each other below the anomalies."""
    pairs = scores[ANOMALOUS][:, None] - scores[~ANOMALOUS][None]
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    return wins.mean(axis=1), wins.mean(axis=0)


def delong(one: np.ndarray, other: np.ndarray | float = 0.0) -> float:
    """The standard error of an AUC or of a difference of two (DeLong et al. 1988, Eq. 5 and 6)."""
    ours = placements(one)
    theirs = placements(other) if isinstance(other, np.ndarray) else (0.0, 0.0)
    return np.sqrt(sum((a - b).var(ddof=1) / len(a) for a, b in zip(ours, theirs, strict=True)))


def test_the_bootstrap_has_the_spread_of_delong():
    scores = {"smooth": SMOOTH, "noisy": SMOOTH + 0.5 * RNG.normal(size=400), "coarse": COARSE}
    found = bootstrapped(scores, ANOMALOUS, Roc.auc, replicates=2000)
    for name, values in scores.items():
        assert found[name].mean() == pytest.approx(auc(values, ANOMALOUS), abs=0.003)
        assert found[name].std(ddof=1) == pytest.approx(delong(values), rel=0.08)
    for other in ("noisy", "coarse"):
        expected = delong(scores["smooth"], scores[other])
        assert paired(found, "smooth", other) == pytest.approx(expected, rel=0.08)
    # Paired, the difference is known better than from two independent samples.
    apart = np.hypot(found["smooth"].std(), found["coarse"].std())
    assert paired(found, "smooth", "coarse") < 0.5 * apart


def test_a_bootstrap_is_the_same_for_all_methods_and_for_one_seed():
    def both(curve: Roc) -> np.ndarray:
        return np.stack([curve.auc(), curve.rejection(0.5)], axis=-1)

    once = bootstrapped({"a": SMOOTH, "b": 2 * SMOOTH + 1}, ANOMALOUS, both, replicates=60)
    np.testing.assert_array_equal(once["a"], once["b"])
    alone = bootstrapped({"b": SMOOTH}, ANOMALOUS, both, replicates=60)
    np.testing.assert_array_equal(once["a"], alone["b"])
    assert once["a"].shape == (60, 2) and len(np.unique(once["a"][:, 0])) > 50
    other = bootstrapped({"b": SMOOTH}, ANOMALOUS, both, replicates=60, seed=1)
    assert not np.array_equal(other["b"], alone["b"])


def test_groups_are_drawn_each_in_its_own_number():
    """The spread is that of DeLong within groups: what groups differ by is no chance."""
    groups = np.where(ANOMALOUS, 2, COARSE > 0)
    found = bootstrapped({"a": SMOOTH}, ANOMALOUS, Roc.auc, groups=groups, replicates=2000)["a"]
    ours, theirs = placements(SMOOTH)
    variance = ours.var(ddof=1) / len(ours)
    for group in (0, 1):
        values = theirs[groups[~ANOMALOUS] == group]
        variance += len(values) * values.var(ddof=1) / len(theirs) ** 2
    assert found.std(ddof=1) == pytest.approx(np.sqrt(variance), rel=0.08)
    assert found.std(ddof=1) < 0.95 * delong(SMOOTH)


def test_a_resample_of_groups_is_the_same_whichever_is_anomalous():
    """So that one less the area of the other kind as the anomaly is the same area each time."""
    kept = {"groups": ANOMALOUS + 3, "replicates": 60}
    one = bootstrapped({"a": SMOOTH}, ANOMALOUS, Roc.auc, **kept)["a"]
    other = bootstrapped({"a": SMOOTH}, ~ANOMALOUS, Roc.auc, **kept)["a"]
    np.testing.assert_allclose(one, 1 - other, rtol=1e-12)


def test_groups_that_mix_kinds_or_are_not_of_the_examples_are_refused():
    for groups, message in (
        (np.zeros(400), "group 0.0 holds anomalies and others"),
        (np.zeros(3), r"groups are \[400\], one an example, not \(3,\)"),
    ):
        with pytest.raises(UserError, match=message):
            bootstrapped({"a": SMOOTH}, ANOMALOUS, Roc.auc, groups=groups)


def test_weights_of_examples_stay_in_a_bootstrap():
    weights = np.where(ANOMALOUS | (SMOOTH > 0), 1.0, 0.0)
    found = bootstrapped({"a": SMOOTH}, ANOMALOUS, Roc.auc, weights=weights, replicates=200)
    kept = weights > 0
    assert found["a"].mean() == pytest.approx(auc(SMOOTH[kept], ANOMALOUS[kept]), abs=0.01)


def test_what_has_no_curve_is_refused():
    for scores, anomalous, message in (
        ([0.0, 1.0], [True, True], "all are of one kind"),
        ([0.0, np.nan], [True, False], "1 of 2 scores are NaN"),
        ([[0.0, 1.0]], [True, False], r"are both \[N\]"),
    ):
        with pytest.raises(UserError, match=message):
            roc(np.array(scores), np.array(anomalous))
    with pytest.raises(UserError, match="above 0 and up to 1, not at 0"):
        background_rejection(SMOOTH, ANOMALOUS, 0.0)


def test_infinite_scores_are_tied_with_each_other():
    anomalous = np.array([True, False, True, False])
    assert auc(np.full(4, np.inf), anomalous) == 0.5
    # The pairs: a tie, a win, a loss and a win.
    assert auc(np.array([np.inf, np.inf, 1.0, 0.0]), anomalous) == (0.5 + 1 + 0 + 1) / 4


@pytest.mark.parametrize("anomalous", [[0, 1, 2, 0], [np.nan, 1, 0, 0], [0.5, 1, 0, 0]])
def test_what_is_anomalous_is_yes_or_no(anomalous):
    with pytest.raises(UserError, match="true or false"):
        roc(np.arange(4.0), np.array(anomalous))


@pytest.mark.parametrize("weights", [np.ones(3), -np.ones(4), np.full(4, np.nan)])
def test_weights_are_one_an_example_and_not_negative(weights):
    with pytest.raises(UserError, match="weights are"):
        roc(np.arange(4.0), np.array([0, 1, 0, 1]), weights)
