"""Two layers of codes, of which the data depend on the lower one: p(z2) p(z1|z2) p(x|z1)."""

import dataclasses

from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.distributions import Distribution
from ae_jax.models.autoencoder import Autoencoder
from ae_jax.models.base import Batch
from ae_jax.models.build import build_autoencoder
from ae_jax.models.config import Examples, ModelConfig
from ae_jax.nn.ladder import top_size


class Ladder(Autoencoder):
    """An autoencoder whose decoder sees the code [z1, z2] without its `top`, z2."""

    top: int = 1

    @property
    def decoded_size(self) -> int:
        return self.latent.dim - self.top

    def decode(self, z: Array, batch: Batch) -> Distribution:
        """p(x|z1, c) given codes [..., B, Z]; its parameters are [..., B, D...]."""
        return super().decode(z[..., : -self.top], batch)


def build_ladder(config: ModelConfig, examples: Examples) -> Ladder:
    """The model that a config names, with latent and prior `ladder` of the same sizes.

    `model.latent_dim` is the size of both codes together, `model.latent.top` that of z2. Raises
    UserError for other parts.
    """
    for part, value, known in (
        ("latent", config.latent, ("ladder",)),
        ("prior", config.prior, ("auto", "ladder")),
    ):
        if value not in known:
            raise UserError(f"model.name=ladder needs model.{part}=ladder, not {value}")
    top = top_size(config.latent_dim, config.options_of("latent").get("top"))
    if config.options_of("prior").get("top", top) != top:
        raise UserError(f"model.prior.top is that of the latent, {top}: leave it out")
    others = tuple(option for option in config.options if option[0] != "prior.top")
    config = dataclasses.replace(config, options=(*others, ("prior.top", top)))
    plain = build_autoencoder(config, examples)
    fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(Autoencoder)}
    del fields["parent"], fields["name"]
    return Ladder(**fields, top=top)
