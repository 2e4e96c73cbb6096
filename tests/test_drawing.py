"""Where the names of levels stand in figures of lines."""

import numpy as np
import pytest

from ae_jax.report import figures
from ae_jax.report.comparisons import curve_panels

X = np.array([0.0, 1.0, 2.0, 3.0])
LEVEL = X[[0, -1]], np.full(2, 0.5)


def placed(**curves) -> tuple[str, str]:
    """The corner by which the name of a level at 0.5 is held, in axes that go from 0 to 1."""
    frame = {"low": (X, np.array([0.0, 0.1, 0.1, 0.0])), "high": (X, np.array([1.0, 0.9, 0.9, 1]))}
    curves = {name: (X, np.array(y)) for name, y in curves.items()}
    figure = curve_panels({"panel": {**frame, **curves, "level": LEVEL}}, {"panel": "x"}, "y")
    (name,) = figure.axes[0].texts
    assert name.get_text() == "level"
    return name.get_horizontalalignment(), name.get_verticalalignment()


@pytest.mark.parametrize(
    ("curves", "place"),
    [
        ({}, ("right", "bottom")),
        ({"along": [0.1, 0.2, 0.53, 0.53]}, ("left", "bottom")),
        ({"along": [0.53, 0.53, 0.53, 0.53001]}, ("right", "top")),
        ({"along": [0.53, 0.53, 0.53, 0.53001], "under": [0.1, 0.2, 0.47, 0.47]}, ("left", "top")),
        # A curve that runs through it between two points, neither of which is in it.
        ({"steep": [0.1, 0.1, 0.1, 0.57]}, ("left", "bottom")),
        # There is no room: as if nothing were there.
        (
            {"along": [0.53, 0.53, 0.53, 0.53001], "under": [0.47, 0.47, 0.47, 0.47001]},
            ("right", "bottom"),
        ),
    ],
)
def test_a_level_is_named_where_no_curve_runs(curves, place):
    assert placed(**curves) == place


def test_panels_of_one_scale_are_named_when_the_scale_is_known():
    """Alone, the first panel would go from 0.4 to 0.6, and the curve be far from the name."""
    near = {"near": (X, np.array([0.4, 0.4, 0.56, 0.6])), "level": LEVEL}
    far = {"far": (X, np.array([-4.0, 0.0, 1.0, 4.0]))}
    figure = curve_panels({"near": near, "far": far}, {"near": "x", "far": "x"}, "y")
    assert figure.axes[0].texts[0].get_horizontalalignment() == "left"


def test_of_two_levels_that_are_close_the_lower_is_named_below_and_within_the_axes():
    """At 126 and 128 of about 70, as far apart as half a line of text."""
    lines = {"error": (X, np.array([190.0, 150.0, 141.0, 140.0]))}
    levels = {"PCA": (X[[0, -1]], np.full(2, 128.0)), "another": (X[[0, -1]], np.full(2, 126.0))}
    (axes,) = figures.loss_curves(lines | levels).axes
    places = {text.get_text(): text.get_verticalalignment() for text in axes.texts}
    assert places == {"PCA": "bottom", "another": "top"}
    low, high = axes.get_ylim()
    assert 126 - low > 0.04 * (high - low)  # a line of text
