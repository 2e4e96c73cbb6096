"""Figures of fitted models: each function gives matplotlib axes, its own or those it is given.

Nothing goes through pyplot: without `axes` there is a new figure, `axes.figure`, which notebooks
show and `savefig` writes. `new_figure` is one for several axes. Where values are not in [0, 1] they
are brought to grey levels together.
"""

from ae_jax.plot.codes import codes
from ae_jax.plot.curves import curves, learning_curves
from ae_jax.plot.images import features, manifold, reconstructions, samples, traversal
from ae_jax.report.style import new_figure

__all__ = [
    "codes",
    "curves",
    "features",
    "learning_curves",
    "manifold",
    "new_figure",
    "reconstructions",
    "samples",
    "traversal",
]
