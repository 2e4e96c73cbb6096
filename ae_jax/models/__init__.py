"""Models by name: functions from a `ModelConfig` and the shape of one example to a module.

A model offers `encode`, `decode` and `prior`; objectives, evaluators, figures and the command
line use nothing else.
"""

from ae_jax.core.errors import UserError
from ae_jax.core.registry import Registry
from ae_jax.models.autoencoder import Autoencoder, parameter_counts
from ae_jax.models.config import ModelConfig
from ae_jax.models.rbm import build_rbm
from ae_jax.nn import ACTIVATIONS, DECODERS, ENCODERS, HEADS, LATENTS


def build_autoencoder(config: ModelConfig, shape: tuple[int, ...]) -> Autoencoder:
    """The composition that the config names, for examples of the given shape.

    Raises UserError for unknown names, and for convolutions on anything but images.
    """
    activation = ACTIVATIONS.get(config.activation)
    encoder, decoder = ENCODERS.get(config.encoder), DECODERS.get(config.decoder)
    latent = LATENTS.get(config.latent)
    keeps = {"k": config.latent_k} if "k" in getattr(latent, "__dataclass_fields__", {}) else {}
    _check_images("encoder", config.encoder, encoder, config.hidden, shape)
    _check_images("decoder", config.decoder, decoder, config.mirrored_hidden, shape)
    return Autoencoder(
        encoder=encoder(config.hidden, activation),
        latent=latent(config.latent_dim, **keeps),
        decoder=decoder(config.mirrored_hidden, activation, shape),
        head=HEADS.get(config.head)(shape, config.head_scale),
        tied=config.tied,
    )


def _check_images(
    role: str, name: str, part: type, hidden: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    # A user's own part need not say what it is for.
    if not getattr(part, "for_images", False):
        return
    if len(shape) != 3:
        raise UserError(
            f"{role} {name!r} works on images (height, width, channels); the examples have "
            f"shape {shape}"
        )
    if not hidden:
        raise UserError(f"{role} {name!r} needs at least one layer, and model.hidden is empty")


MODELS = Registry("model", {"autoencoder": build_autoencoder, "rbm": build_rbm})

__all__ = ["MODELS", "Autoencoder", "build_autoencoder", "parameter_counts"]
