"""Models by name: functions from a `ModelConfig` and the shape of one example to a module.

A model offers `encode`, `decode` and `prior`; objectives, evaluators, figures and the command
line use nothing else.
"""

from ae_jax.config import ModelConfig
from ae_jax.models.autoencoder import Autoencoder, parameter_counts
from ae_jax.nn import ACTIVATIONS, DECODERS, ENCODERS, HEADS, LATENTS
from ae_jax.registry import Registry


def build_autoencoder(config: ModelConfig, shape: tuple[int, ...]) -> Autoencoder:
    """The composition that the config names, for examples of the given shape."""
    activation = ACTIVATIONS.get(config.activation)
    return Autoencoder(
        encoder=ENCODERS.get(config.encoder)(config.hidden, activation),
        latent=LATENTS.get(config.latent)(config.latent_dim),
        decoder=DECODERS.get(config.decoder)(config.mirrored_hidden, activation, shape),
        head=HEADS.get(config.head)(shape, config.head_scale),
    )


MODELS = Registry("model", {"autoencoder": build_autoencoder})

__all__ = ["MODELS", "Autoencoder", "build_autoencoder", "parameter_counts"]
