"""Stacks of layers that were trained one by one, and the deep autoencoder that they make.

A stack is a list of layers from the data inwards; layer i is trained on the codes of layer i - 1.
Unrolled, the encoders follow each other to the code and the decoders back (Hinton & Salakhutdinov
2006, Fig. 1). Only parameters are moved: nothing is computed, and nothing is trained here.

The unrolled model does what the stack did if its `model.activation` is what each layer but the
last applies to its code and each layer but the first to its reconstruction: sigmoid for layers with
Bernoulli units or heads, linear for linear ones; its latent and its head are those of the last and
the first layer.
"""

from collections.abc import Sequence

from flax import struct

from ae_jax.core.errors import UserError
from ae_jax.nn.tying import decoder_chain, encoder_chain, untie

Dense = dict  # {kernel: [in, out], bias: [out]}


@struct.dataclass
class Layer:
    """One dense map in, `encoder`, and the one that leads back, `decoder`: {kernel, bias} each."""

    encoder: Dense
    decoder: Dense

    @property
    def sizes(self) -> tuple[int, int]:
        """Units outside and inside."""
        return self.encoder["kernel"].shape


def autoencoder_layers(params: dict) -> list[Layer]:
    """The layers of an autoencoder of dense parts, tied or not, from the data inwards.

    A head's further maps (a predicted scale) are left out. Raises UserError where the decoder does
    not have as many layers as the encoder, or has them of other sizes.
    """
    outwards = decoder_chain(params)
    if any("kernel" not in params[part][name] for part, name in outwards):
        params = untie(params)
    encoder = [params[part][name] for part, name in encoder_chain(params)]
    decoder = [params[part][name] for part, name in outwards[::-1]]
    if len(encoder) != len(decoder):
        raise UserError(
            f"a stack needs a decoder for each encoder: there are {len(encoder)} layers to the "
            f"code and {len(decoder)} back"
        )
    layers = [Layer(_dense(e), _dense(d)) for e, d in zip(encoder, decoder, strict=True)]
    _check(layers)
    return layers


def rbm_layer(params: dict) -> Layer:
    """A trained RBM as a layer: up by W and the hidden biases, down by its transpose."""
    kernel = params["hidden"]["kernel"]
    return Layer(
        {"kernel": kernel, "bias": params["hidden"]["bias"]},
        {"kernel": kernel.T, "bias": params["visible"]["bias"]},
    )


def unroll(layers: Sequence[Layer], code: str = "code", data: str = "logits") -> dict:
    """Parameters of the deep autoencoder that the layers make, as `model.init` would shape them.

    code   name of the latent's map: `code` of a deterministic latent, `loc` of a Gaussian one
           (whose other map is not among these)
    data   name of the head's map: `logits` (bernoulli) or `mean` (gaussian_fixed)

    With n layers the model has n - 1 hidden ones. Raises UserError for layers that do not fit.
    """
    layers = list(layers)
    _check(layers)
    *outer, last = layers
    first, *inner = layers
    params = {
        "encoder": {f"dense_{i}": _dense(layer.encoder) for i, layer in enumerate(outer)},
        "latent": {code: _dense(last.encoder)},
        "decoder": {f"dense_{i}": _dense(layer.decoder) for i, layer in enumerate(inner[::-1])},
        "head": {data: _dense(first.decoder)},
    }
    return {part: value for part, value in params.items() if value}


def _dense(layer: Dense) -> Dense:
    return {"kernel": layer["kernel"], "bias": layer["bias"]}


def _check(layers: Sequence[Layer]) -> None:
    if not layers:
        raise UserError("a stack needs at least one layer")
    for number, layer in enumerate(layers):
        if layer.decoder["kernel"].shape != layer.sizes[::-1]:
            raise UserError(
                f"layer {number} goes {layer.sizes[0]}-{layer.sizes[1]} in and "
                f"{'-'.join(map(str, layer.decoder['kernel'].shape))} back"
            )
        if number and layer.sizes[0] != layers[number - 1].sizes[1]:
            raise UserError(
                f"layer {number} has {layer.sizes[0]} inputs where the one before it has a code "
                f"of {layers[number - 1].sizes[1]}"
            )
