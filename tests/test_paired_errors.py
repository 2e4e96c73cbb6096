"""Errors of what experiments compare on the same examples, against those of many draws."""

import numpy as np
import pytest

from experiments.evaluation import paired, ratio

RNG = np.random.default_rng(0)


def parts(*arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """A hundred disjoint samples of the same examples."""
    return list(zip(*(np.split(array, 100) for array in arrays), strict=True))


def check(estimate, ours, others):
    found = estimate(ours, others)
    again = [estimate(*part) for part in parts(ours, others)]
    assert np.std([one.mean for one in again], ddof=1) / 10 == pytest.approx(
        found.standard_error, rel=0.2
    )
    assert np.mean([one.standard_error for one in again]) / 10 == pytest.approx(
        found.standard_error, rel=0.05
    )
    return found


def test_a_mean_over_entries_of_which_examples_have_more_or_less():
    counted = RNG.random((4000, 30)) < RNG.random((4000, 1))
    values = RNG.normal(1.0, 2.0, (4000, 30)) + RNG.normal(size=(4000, 1))
    found = check(ratio, np.where(counted, values, 0).sum(axis=1), counted.sum(axis=1))
    assert found.mean == pytest.approx(values[counted].mean(), rel=1e-12)


def test_a_difference_on_the_same_examples():
    hardness = RNG.normal(0.0, 5.0, 4000)
    ours, others = hardness + RNG.normal(1.0, 1.0, 4000), hardness + RNG.normal(size=4000)
    found = check(paired, ours, others)
    assert found.mean == pytest.approx(ours.mean() - others.mean())
    assert found.standard_error == pytest.approx(np.sqrt(2 / 4000), rel=0.05)  # not that of 5
