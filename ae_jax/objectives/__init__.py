"""Objectives by name: one file a family, one line an entry."""

from ae_jax.objectives.base import Batch, Draws, Objective, Terms, batch_mean, draw
from ae_jax.objectives.elbo import Elbo
from ae_jax.registry import Registry

OBJECTIVES = Registry[type[Objective]]("objective", {"elbo": Elbo})

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Draws",
    "Elbo",
    "Objective",
    "Terms",
    "batch_mean",
    "draw",
]
