"""Models by name: functions from a `ModelConfig` and the `Examples` it is for to a module.

A model offers `encode`, `prior` and `decode` (`models.base`); objectives, evaluators, figures and
the command line use nothing else.
"""

from ae_jax.core.registry import Registry
from ae_jax.models.autoencoder import Autoencoder, parameter_counts
from ae_jax.models.base import Batch, BoundModel, Draws, draw, score
from ae_jax.models.build import build_autoencoder
from ae_jax.models.config import Examples, ModelConfig
from ae_jax.models.ladder import build_ladder
from ae_jax.models.rbm import build_rbm

MODELS = Registry(
    "model", {"autoencoder": build_autoencoder, "ladder": build_ladder, "rbm": build_rbm}
)

__all__ = [
    "MODELS",
    "Autoencoder",
    "Batch",
    "BoundModel",
    "Draws",
    "Examples",
    "ModelConfig",
    "build_autoencoder",
    "draw",
    "parameter_counts",
    "score",
]
