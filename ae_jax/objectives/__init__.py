"""Objectives by name: one file a family, one line an entry."""

from ae_jax.core.registry import Registry
from ae_jax.numerics.reductions import batch_mean
from ae_jax.objectives.base import Batch, Draws, Objective, Terms, draw
from ae_jax.objectives.contractive import Contractive
from ae_jax.objectives.contrastive_divergence import ContrastiveDivergence
from ae_jax.objectives.elbo import Elbo
from ae_jax.objectives.masked import MaskedReconstruction
from ae_jax.objectives.reconstruction import Denoising, Reconstruction
from ae_jax.objectives.sparse import Sparse, SparseKL, SparseL1

OBJECTIVES = Registry[type[Objective]](
    "objective",
    {
        "contractive": Contractive,
        "contrastive_divergence": ContrastiveDivergence,
        "denoising": Denoising,
        "elbo": Elbo,
        "masked_reconstruction": MaskedReconstruction,
        "reconstruction": Reconstruction,
        "sparse": Sparse,
        "sparse_kl": SparseKL,
        "sparse_l1": SparseL1,
    },
    base=Objective,
)

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Contractive",
    "ContrastiveDivergence",
    "Denoising",
    "Draws",
    "Elbo",
    "MaskedReconstruction",
    "Objective",
    "Reconstruction",
    "Sparse",
    "SparseKL",
    "SparseL1",
    "Terms",
    "batch_mean",
    "draw",
]
