"""Tied weights: the decoder's kernels are the transposes of the encoder's.

A tied parameter tree has no kernels in its decoder, so that what is shared is stored, initialised,
counted and updated once; its gradient is the sum over both uses.
"""

from ae_jax.core.errors import UserError

# The dense map that a latent or a head begins or ends with; others of them stay free.
CODE_LAYERS = ("code", "loc")
DATA_LAYERS = ("logits", "mean", "log_rate", "log_mean")

Place = tuple[str, str]


def encoder_chain(params: dict) -> list[Place]:
    """The dense layers from the data to the code, as places in a parameter tree."""
    return [*_dense("encoder", params), _first("latent", params, CODE_LAYERS)]


def decoder_chain(params: dict) -> list[Place]:
    """The dense layers from the code to the data."""
    return [*_dense("decoder", params), _first("head", params, DATA_LAYERS)]


def tie(params: dict) -> dict:
    """The tree without the kernels of its decoder, which `untie` takes from the encoder."""
    result = _copied(params)
    for part, layer in decoder_chain(params):
        result[part][layer].pop("kernel", None)
    return result


def untie(params: dict) -> dict:
    """The tree with the decoder's kernels as transposes of the encoder's; equal to the tied model.

    Raises UserError where the decoder is not the mirror image of the encoder.
    """
    encoder, decoder = encoder_chain(params), decoder_chain(params)[::-1]
    result = _copied(params)
    if len(encoder) != len(decoder):
        raise _no_mirror(f"it has {len(decoder)} layers for {len(encoder)} of the encoder")
    for (part, layer), (decoder_part, decoder_layer) in zip(encoder, decoder, strict=True):
        kernel = params[part][layer]["kernel"]
        target = result[decoder_part][decoder_layer]
        if "bias" not in target:
            raise _no_mirror(f"{decoder_part} {decoder_layer} has no bias")
        if target["bias"].shape != kernel.shape[:1]:
            raise _no_mirror(
                f"{decoder_part} {decoder_layer} has {target['bias'].shape[0]} outputs where "
                f"{part} {layer} has {kernel.shape[0]} inputs"
            )
        target["kernel"] = kernel.T
    return result


def _no_mirror(how: str) -> UserError:
    return UserError(f"tied weights need a decoder that mirrors the encoder: {how}")


def _dense(part: str, params: dict) -> list[Place]:
    layers = params.get(part, {})
    names = [f"dense_{i}" for i in range(len(layers))]
    if set(names) != set(layers):
        raise UserError(f"this needs dense layers, and the {part} has {', '.join(sorted(layers))}")
    return [(part, name) for name in names]


def _first(part: str, params: dict, names: tuple[str, ...]) -> Place:
    for name in names:
        if name in params.get(part, {}):
            return part, name
    raise UserError(f"this needs a {part} that is a dense layer named {' or '.join(names)}")


def _copied(params: dict) -> dict:
    """A tree whose dictionaries may be changed; its arrays are shared."""
    return {k: _copied(v) if isinstance(v, dict) else v for k, v in params.items()}
