"""The section `model` of a configuration: which parts, their options, and their sizes."""

import dataclasses
from typing import Any, Literal

from ae_jax.core.ranges import Count, Positive

Sizes = tuple[Count, ...]
Place = Literal["encoder", "decoder", "prior"]

# The fields of `ModelConfig` that name a part which may have options of its own.
PARTS = ("encoder", "latent", "prior", "decoder", "head")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The parts of a model, by name, and their sizes.

    encoder, decoder  networks; `hidden` and `activation` are theirs
    hidden          sizes of the encoder's layers from the data inwards (channels if convolutional)
    decoder_hidden  the decoder's layers from the code outwards; default: `hidden` mirrored
    latent          q(z|x): what the code is
    latent_dim      its size
    latent_k        units that a `top_k` code keeps, and a `batch_top_k` code on average
    prior           p(z); `auto` is that of the latent: `standard_normal`, or `none` for
                    deterministic codes
    tied            the decoder's kernels are the transposes of the encoder's
    head            p(x|z); `auto` is `multinomial` for vectors of counts, `bernoulli` for data in
                    [0, 1], else `gaussian`
    head_scale      standard deviation of a fixed Gaussian head, or start of a learned global one
    condition       what the model is conditioned on: `none`, the `label`, or the `input` that the
                    data set holds beside each example (a vector or an image)
    into            which parts see the condition
    init            how weights start; `auto` is what fits the activation: Glorot's for tanh, four
                    times that for logistic units, He's for rectified ones. `normal` is
                    N(0, init_scale^2) for weights and biases
    init_scale      a factor on the weights of the other schemes
    options         options of the parts themselves, by path: a field of a part, registered or your
                    own, is `model.PART.FIELD` (`ae-jax list NAME` tells them)
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
    prior: str = "auto"
    tied: bool = False
    head: str = "auto"
    head_scale: Positive = 1.0
    condition: Literal["none", "label", "input"] = "none"
    into: tuple[Place, ...] = ("encoder", "decoder")
    init: str = "auto"
    init_scale: Positive = 1.0
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def mirrored_hidden(self) -> Sizes:
        return self.hidden[::-1] if self.decoder_hidden is None else self.decoder_hidden

    def options_of(self, part: str) -> dict[str, Any]:
        """The options given for a part, by field."""
        return {
            path.partition(".")[2]: value
            for path, value in self.options
            if path.partition(".")[0] == part
        }


@dataclasses.dataclass(frozen=True)
class Examples:
    """What a model is built for: the shape of one example, and of what there is beside it.

    classes     number of labels, which are 0, 1, ...; None without labels
    condition   shape of the condition of one example; None without
    """

    shape: tuple[int, ...]
    classes: int | None = None
    condition: tuple[int, ...] | None = None
