"""Objectives by name: one file a family, one line an entry."""

from ae_jax.core.registry import Registry
from ae_jax.numerics.reductions import batch_mean
from ae_jax.objectives.base import Batch, Draws, Objective, Revision, Terms, draw
from ae_jax.objectives.beta_tcvae import BetaTcvae
from ae_jax.objectives.completion import CompletionElbo
from ae_jax.objectives.contractive import Contractive
from ae_jax.objectives.contrastive_divergence import ContrastiveDivergence
from ae_jax.objectives.elbo import Elbo
from ae_jax.objectives.factor_vae import FactorVae
from ae_jax.objectives.info_vae import InfoVae
from ae_jax.objectives.iwae import Iwae
from ae_jax.objectives.masked import MaskedReconstruction
from ae_jax.objectives.mcem import Mcem
from ae_jax.objectives.reconstruction import Denoising, Reconstruction
from ae_jax.objectives.revival import SparseAuxK, SparseResampling
from ae_jax.objectives.reweighted_wake_sleep import ReweightedWakeSleep
from ae_jax.objectives.semi_supervised import SemiSupervised
from ae_jax.objectives.sparse import Sparse, SparseKL, SparseL0, SparseL1
from ae_jax.objectives.wae_mmd import WaeMmd
from ae_jax.objectives.wake_sleep import WakeSleep

OBJECTIVES = Registry[type[Objective]](
    "objective",
    {
        "beta_tcvae": BetaTcvae,
        "completion_elbo": CompletionElbo,
        "contractive": Contractive,
        "contrastive_divergence": ContrastiveDivergence,
        "denoising": Denoising,
        "elbo": Elbo,
        "factor_vae": FactorVae,
        "info_vae": InfoVae,
        "iwae": Iwae,
        "masked_reconstruction": MaskedReconstruction,
        "mcem": Mcem,
        "reconstruction": Reconstruction,
        "reweighted_wake_sleep": ReweightedWakeSleep,
        "semi_supervised": SemiSupervised,
        "sparse": Sparse,
        "sparse_auxk": SparseAuxK,
        "sparse_kl": SparseKL,
        "sparse_l0": SparseL0,
        "sparse_l1": SparseL1,
        "sparse_resampling": SparseResampling,
        "wae_mmd": WaeMmd,
        "wake_sleep": WakeSleep,
    },
    base=Objective,
)

__all__ = [
    "OBJECTIVES",
    "Batch",
    "BetaTcvae",
    "CompletionElbo",
    "Contractive",
    "ContrastiveDivergence",
    "Denoising",
    "Draws",
    "Elbo",
    "FactorVae",
    "InfoVae",
    "Iwae",
    "MaskedReconstruction",
    "Mcem",
    "Objective",
    "Reconstruction",
    "Revision",
    "ReweightedWakeSleep",
    "SemiSupervised",
    "Sparse",
    "SparseAuxK",
    "SparseKL",
    "SparseL0",
    "SparseL1",
    "SparseResampling",
    "Terms",
    "WaeMmd",
    "WakeSleep",
    "batch_mean",
    "draw",
]
