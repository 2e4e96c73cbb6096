"""Figures of limits, of losses with a zoom and of planes of codes: they show what was given."""

import numpy as np
import pytest
from matplotlib.patches import Ellipse

from ae_jax.report import comparisons, figures
from ae_jax.report.comparisons import Rate
from ae_jax.report.planes import PosteriorInPlane, posterior_panels


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_rates_show_what_was_measured_on_what_is_predicted():
    x = np.array([0.1, 0.01, 0.001])
    panels = {
        "first": {"loss": Rate(x, x * 1.1, x), "centres": Rate(x, np.array([0.1, 0.01, 0.0]))},
        "second": {"loss": Rate(x, x**2)},
    }
    figure = comparisons.rates(panels, "variance", "distance")
    first, second = figure.axes
    assert first.get_xscale() == first.get_yscale() == "log"
    drawn = lines_of(first)
    np.testing.assert_allclose(drawn["loss"].get_ydata(), x * 1.1)
    assert drawn["loss"].get_linestyle() == "None"  # markers alone, on the line of the prediction
    np.testing.assert_allclose(first.lines[0].get_ydata(), x)
    np.testing.assert_allclose(drawn["centres"].get_ydata(), [0.1, 0.01])  # 0 has no place
    # A label has one look in all panels.
    assert lines_of(second)["loss"].get_color() == drawn["loss"].get_color()
    assert drawn["centres"].get_color() != drawn["loss"].get_color()


def test_the_zoom_shows_the_last_epochs_of_those_that_came_so_far():
    epochs = np.arange(1, 31)
    losses = {"good": (epochs, 1.0 / epochs), "diverged": (epochs[:4], epochs[:4] ** 3.0)}
    losses["at once"] = (epochs[:0], np.zeros(0))
    figure = comparisons.loss_with_zoom(losses, 10, "loss", level=("PCA", 0.01))
    whole, zoom = figure.axes
    np.testing.assert_array_equal(zoom.lines[0].get_xdata(), np.arange(21, 31))
    np.testing.assert_allclose(zoom.lines[0].get_ydata(), 1 / np.arange(21, 31))
    assert len(zoom.lines) == 2  # and the level
    ends = [line for line in whole.lines if line.get_marker() == "x"]
    assert [tuple(line.get_xydata()[0]) for line in ends] == [(4.0, 64.0)]
    assert {"good", "diverged", "at once", "PCA"} <= set(lines_of(whole))


def test_a_course_of_lines_goes_from_light_to_dark():
    points = np.random.default_rng(0).normal(size=(20, 2))
    through = np.zeros(2)
    lines = {"axis": (through, np.array([0.0, 1.0]))}
    lines |= {f"epoch {i}": (through, np.array([1.0, i])) for i in range(8)}
    axes = comparisons.lines_through_points(points, lines, ("a", "b"), is_course=True).axes[0]
    drawn = lines_of(axes)
    brightness = [sum(drawn[f"epoch {i}"].get_color()[:3]) for i in range(8)]
    assert brightness == sorted(brightness, reverse=True) and len(set(brightness)) == 8


def test_manifolds_stand_side_by_side_in_their_own_shapes():
    grids = {
        "faces": np.random.default_rng(0).uniform(size=(9, 6, 4, 1)),
        "digits": np.ones((9, 5, 5)),
    }
    figure = figures.manifold_panels(grids, 3)
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    assert [picture.shape for picture in pictures] == [(18, 12), (15, 15)]
    np.testing.assert_allclose(pictures[0][:6, 4:8], grids["faces"][1, ..., 0], rtol=1e-6)
    assert [axes.get_title() for axes in figure.axes] == ["(a) faces", "(b) digits"]


def test_posteriors_are_drawn_where_they_are():
    first, second = np.linspace(-1, 3, 41), np.linspace(0, 2, 21)
    density = np.zeros((41, 21))
    density[30, 5] = 1.0  # at z = (2, 0.5)
    panel = PosteriorInPlane(first, second, density, np.array([1.5, 1.0]), np.array([0.2, 0.4]))
    figure = posterior_panels(np.zeros((1, 8, 8, 1)), {"epoch 1": [panel]})
    axes = figure.axes[1]
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    row, column = np.unravel_index(image.get_array().argmax(), image.get_array().shape)
    assert left + (right - left) * column / 40 == pytest.approx(2.0)
    assert bottom + (top - bottom) * row / 20 == pytest.approx(0.5) and image.origin == "lower"
    ellipses = [patch for patch in axes.patches if isinstance(patch, Ellipse)]
    assert [(e.width, e.height) for e in ellipses] == [(0.4, 0.8), (0.8, 1.6)]
    assert all(tuple(e.center) == (1.5, 1.0) for e in ellipses)
