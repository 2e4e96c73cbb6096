"""The section `model` of a configuration."""

import dataclasses

from ae_jax.core.ranges import Count, Positive

Sizes = tuple[Count, ...]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The four parts, by name, and their sizes.

    hidden          sizes of the encoder's layers from the data inwards (channels if convolutional)
    decoder_hidden  the decoder's layers from the code outwards; default: `hidden` mirrored
    latent_k        units that a `top_k` code keeps
    tied            the decoder's kernels are the transposes of the encoder's
    head            p(x|z); `auto` is `bernoulli` for data in [0, 1], else `gaussian`
    head_scale      standard deviation of a fixed Gaussian head, or start of a learned global one
    init            how weights start; `normal` is N(0, init_scale^2) for weights and biases
    init_scale      a factor on the weights of the other schemes
    """

    name: str = "autoencoder"
    encoder: str = "mlp"
    decoder: str = "mlp"
    hidden: Sizes = (500,)
    decoder_hidden: Sizes | None = None
    activation: str = "tanh"
    latent: str = "gaussian"
    latent_dim: Count = 20
    latent_k: Count = 1
    tied: bool = False
    head: str = "auto"
    head_scale: Positive = 1.0
    init: str = "glorot_uniform"
    init_scale: Positive = 1.0

    @property
    def mirrored_hidden(self) -> Sizes:
        return self.hidden[::-1] if self.decoder_hidden is None else self.decoder_hidden
