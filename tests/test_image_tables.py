"""Tables of images: names, one logarithmic scale a row, and what cannot be drawn."""

import numpy as np
import pytest

from ae_jax.report.image_tables import image_table


def images(*heights: float) -> dict[str, np.ndarray]:
    return {f"c{i}": np.full((4, 4, 1), height) for i, height in enumerate(heights)}


def test_a_row_has_one_scale_and_a_column_its_name():
    figure = image_table({"first": images(1.0, 1e-9), "second": images(5.0, 50.0)}, decades=3)
    axes = [a for a in figure.axes if a.images]
    assert [a.get_title() for a in axes] == ["c0", "c1", "", ""]
    assert [a.get_ylabel() for a in axes] == ["first", "", "second", ""]
    limits = [(a.images[0].norm.vmin, a.images[0].norm.vmax) for a in axes]
    np.testing.assert_allclose(limits, [(1e-3, 1)] * 2 + [(0.05, 50)] * 2)
    # What lies below the scale is as dark as its end.
    assert axes[1].images[0].get_array().min() == pytest.approx(1e-3)
    figure.draw_without_rendering()


def test_what_has_no_logarithm_is_refused():
    with pytest.raises(ValueError, match="no positive value"):
        image_table({"first": images(0.0, -1.0)})
    with pytest.raises(ValueError, match="has columns"):
        image_table({"first": images(1.0), "second": images(1.0, 2.0)})
