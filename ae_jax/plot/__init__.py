"""Figures of fitted models: each function gives matplotlib axes, its own or those it is given.

Nothing goes through pyplot: without `axes` there is a new figure, `axes.figure`, which notebooks
show and `savefig` writes. Where values are not in [0, 1] they are brought to grey levels together.
"""

from ae_jax.plot.codes import codes
from ae_jax.plot.curves import learning_curves
from ae_jax.plot.images import features, manifold, reconstructions, samples, traversal

__all__ = [
    "codes",
    "features",
    "learning_curves",
    "manifold",
    "reconstructions",
    "samples",
    "traversal",
]
