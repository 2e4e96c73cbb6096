"""Images in rows and columns that have names, with a scale of values beside each row."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LogNorm

from ae_jax.report.style import Figure, display_name, style


@style()
def image_table(
    rows: Mapping[str, Mapping[str, np.ndarray]], *, decades: float = 4.0, title: str | None = None
) -> Figure:
    """Images [H, W] or [H, W, 1] by row and, in each, by column: colours are logarithms of values.

    A row has one scale, from its largest value down by so many `decades`: images of one row can be
    compared. What lies below is as dark as the lowest. Raises ValueError for rows without a
    positive value, or with other columns than the first.
    """
    columns = list(next(iter(rows.values())))
    figure = Figure((2.1 * len(columns) + 1.5, 1.9 * len(rows) + 0.6), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for index, (row, images) in enumerate(rows.items()):
        places = grid[index]
        if list(images) != columns:
            raise ValueError(f"row {row!r} has columns {list(images)}, not {columns}")
        highest = max(float(np.max(image)) for image in images.values())
        if not highest > 0:
            raise ValueError(f"row {row!r} has no positive value for a logarithm")
        lowest = highest * 10.0**-decades
        scale = LogNorm(lowest, highest)
        for axes, column in zip(places, columns, strict=True):
            image = np.asarray(images[column]).reshape(np.shape(images[column])[:2])
            drawn = axes.imshow(
                np.clip(image, lowest, None), cmap="viridis", norm=scale, interpolation="nearest"
            )
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set_visible(False)
            if index == 0:
                axes.set_title(display_name(column))
        places[0].set_ylabel(display_name(row))
        figure.colorbar(drawn, ax=list(places), fraction=0.04, pad=0.02)
    if title:
        figure.suptitle(title)
    return figure
