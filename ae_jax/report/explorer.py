"""A walk through the codes of a model: one page that decodes in the browser, without a network.

`specification` puts into JSON what the page needs: the decoder, the range of each dimension of the
code, and test examples with their codes. `explorer_*.js` do the rest. A decoder that is a chain of
dense layers goes there as its weights, in half precision; of any other one go decodings on a
lattice, and why. Whether the page's arithmetic is that of the model is checked before it is
written: what differs goes there as a lattice too.

Numbers are packed as little-endian halves in base64, times a scale, so that no range is too large.
"""

import base64
import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ae_jax.api import Fitted
from ae_jax.codecs import Codec
from ae_jax.core.errors import UserError
from ae_jax.core.files import write_atomically
from ae_jax.data.base import Split
from ae_jax.distributions import StandardNormal, has_kl_per_dim, kl_per_dim
from ae_jax.models.autoencoder import Autoencoder
from ae_jax.models.rbm import RestrictedBoltzmannMachine
from ae_jax.nn import ACTIVATIONS
from ae_jax.nn.decoders import MLPDecoder
from ae_jax.nn.tying import decoder_chain, untie
from ae_jax.report.pages import EXPLORER, link_to_explorer
from ae_jax.report.style import class_colors, data_name, display_name
from ae_jax.train.config import RunConfig, method_name
from ae_jax.train.rundir import RunDirectory

SCRIPTS = ("explorer_model.js", "explorer_plane.js", "explorer_controls.js")
# What they know: an activation by name, and what a head does to its dense map.
ACTIVATIONS_KNOWN = (
    "elu", "gelu", "leaky_relu", "linear", "relu", "sigmoid", "silu", "softplus", "tanh",
)  # fmt: skip
HEADS_KNOWN = {
    "bernoulli": "sigmoid",
    "gaussian": "linear",
    "gaussian_fixed": "linear",
    "gaussian_global": "linear",
    "gaussian_sigmoid": "sigmoid",
}

MOST_WEIGHTS = 8_000_000  # of a decoder: 21 MB of page
EXAMPLE_BYTES = 400_000  # for the values of test examples
LATTICE_BYTES = 1_000_000
MOST_EXAMPLES = 1000
FEWEST_EXAMPLES = 60
SURVEYED = 10_000  # test examples that ranges and examples are taken from
_FILLED = " What is missing in test examples is shown as the model fills it in."
DRAWS = 256  # from a prior that the page cannot draw from
CHECKED = 32  # codes at which the page's arithmetic is compared with the model's
TOLERANCE = 1e-2  # of the range of values


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """A dense layer of the page: activation(x @ kernel + bias), kernel [I, O]."""

    kernel: np.ndarray
    bias: np.ndarray
    activation: str


@dataclasses.dataclass(frozen=True, eq=False)
class Condition:
    """A choice of the page: its `vector` [C] is appended to the code before the first layer."""

    name: str
    vector: np.ndarray


class Untranslatable(Exception):
    """Says why a decoder cannot be run by the page."""


def write(model: Fitted, directory: RunDirectory) -> Path:
    """Writes `explorer.html` of a run or a codec, and a link to it into its report if it has one.

    Returns the path. Raises UserError where a page cannot be written.
    """
    path = write_page(directory.path / EXPLORER, specification(model))
    link_to_explorer(directory)
    return path


def write_page(path: Path, spec: dict[str, Any]) -> Path:
    """The page of a specification. Raises UserError where it cannot be written."""
    environment = Environment(
        loader=PackageLoader("ae_jax.report", "."), autoescape=True, undefined=StrictUndefined
    )
    sources = [environment.loader.get_source(environment, name)[0] for name in SCRIPTS]
    script = "(() => {\n" + "\n".join(['"use strict";', *sources]) + "})();"
    # The page runs this script and no other, whatever the names of the data hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("explorer.html").render(
        title=spec["title"],
        summary=spec["summary"],
        script=Markup(script),  # noqa: S704  files of this library
        script_digest=f"sha256-{digest}",
        # Within a script element only `<` could end it.
        spec=Markup(json.dumps(spec, allow_nan=False).replace("<", "\\u003c")),  # noqa: S704
    )
    return write_atomically(path, page.encode("utf-8"))


def specification(model: Fitted) -> dict[str, Any]:
    """All that the page is told of a model, for JSON. Raises UserError without test examples."""
    survey = model.setup.dataset.splits[model.split_named("test")].head(SURVEYED)
    posterior = model.posterior(survey)
    codes, inputs = np.asarray(posterior.mean(), np.float32), model.inputs(survey)
    lacks = np.isnan(inputs)
    if lacks.any():  # no picture of an example has holes
        inputs = np.where(lacks, model.reconstruct(survey, units="model"), inputs)
    chosen = _spaced(len(codes), _example_count(math.prod(model.setup.dataset.shape)))
    data = _data(model, inputs[chosen])
    prior = _prior(model)
    code = _code(model, posterior, codes, prior)
    conditions = conditions_of(model)
    labels = _labels(survey, chosen, model.setup.dataset.classes)
    return {
        "title": f"{data_name(model.setup.dataset.name)}: {_method(model)}",
        "summary": _summary(model) + (_FILLED if lacks.any() else ""),
        "data": data,
        "code": code,
        "prior": prior,
        "condition": conditions
        and {
            "name": "condition",
            "choices": [{"name": c.name, "vector": packed(c.vector)} for c in conditions],
        },
        "decoder": _decoder(model, codes[chosen], conditions, code, data),
        "examples": {
            "count": len(chosen),
            "numbers": chosen.tolist(),
            "codes": packed(codes[chosen]),
            "values": _values(inputs[chosen], data),
            "labels": labels["of"],
        },
        "classes": labels["classes"],
    }


def conditions_of(model: Fitted) -> list[Condition] | None:
    """The conditions that a conditional model decodes under, one a label: its one-hot vector.

    None for a model that decodes from the code alone. Raises UserError for one that decodes under
    an input, of which there is no choice to offer.
    """
    if model.condition_kind == "none":
        return None
    if model.condition_kind == "input":
        raise UserError("the page cannot offer the inputs that this model is conditioned on")
    network: Any = model.setup.architecture.model
    classes = network.classes
    names = model.setup.dataset.classes or tuple(map(str, range(classes)))
    in_decoder = "decoder" in cast(RunConfig, model.config).model.into
    vectors = np.eye(classes, dtype=np.float32) if in_decoder else np.zeros((classes, 0), "f4")
    return [Condition(name, vector) for name, vector in zip(names, vectors, strict=True)]


def layers_of(model: Fitted) -> list[Layer]:
    """The decoder up to the mean of p(x|z) as dense layers. Raises Untranslatable."""
    if isinstance(model.params, Codec):
        return [_layer(model.params.atoms, model.params.offset, "linear")]
    network, params = model.setup.architecture.model, model.params
    if isinstance(network, RestrictedBoltzmannMachine):
        mean = "sigmoid" if network.visible == "bernoulli" else "linear"
        return [_layer(params["hidden"]["kernel"].T, params["visible"]["bias"], mean)]
    config = cast(RunConfig, model.config).model
    if not isinstance(network, Autoencoder) or type(network.decoder) is not MLPDecoder:
        raise Untranslatable(f"its decoder ({display_name(config.decoder)}) is not dense layers")
    if config.activation not in ACTIVATIONS_KNOWN:
        raise Untranslatable(f"the page does not know the activation {config.activation}")
    if config.head not in HEADS_KNOWN:
        raise Untranslatable(f"the page does not know the head {config.head}")
    try:
        params = untie(params) if config.tied else params
        chain = decoder_chain(params)
    except UserError as error:
        raise Untranslatable(str(error)) from error
    places = [dict(params[part][name]) for part, name in chain]
    if model.condition_kind != "none" and "decoder" in config.into:
        # The model puts the condition before the code, the page behind it.
        kernel = np.asarray(places[0]["kernel"])
        width = kernel.shape[0] - config.latent_dim
        places[0]["kernel"] = np.concatenate([kernel[width:], kernel[:width]])
    activations: list[str]
    activations = [config.activation] * (len(places) - 1) + [HEADS_KNOWN[config.head]]
    return [
        _layer(place["kernel"], place["bias"], activation)
        for place, activation in zip(places, activations, strict=True)
    ]


def run_layers(layers: list[Layer], z: np.ndarray) -> np.ndarray:
    """What the page makes of codes (and conditions) [N, Z + C], in its precision of weights."""
    x = np.asarray(z, np.float32)
    for layer in layers:
        kernel, bias = (unpacked(packed(part)) for part in (layer.kernel, layer.bias))
        x = x @ kernel.reshape(layer.kernel.shape) + bias[None]
        x = np.asarray(ACTIVATIONS.get(layer.activation)(x))
    return x


def packed(values: np.ndarray) -> dict[str, Any]:
    """Numbers as halves of the largest magnitude. Raises UserError for what is not finite."""
    flat = np.asarray(values, np.float64).ravel()
    if not np.isfinite(flat).all():
        raise UserError("the model holds values that are not finite, which no page can show")
    scale = float(np.abs(flat).max(initial=0.0)) or 1.0
    return {"scale": scale, "halves": _base64((flat / scale).astype("<f2").tobytes())}


def unpacked(numbers: dict[str, Any]) -> np.ndarray:
    """The inverse of `packed`, flat and to half precision."""
    halves = np.frombuffer(base64.b64decode(numbers["halves"]), "<f2")
    return halves.astype(np.float32) * np.float32(numbers["scale"])


def _layer(kernel: Any, bias: Any, activation: str) -> Layer:
    return Layer(np.asarray(kernel, np.float32), np.asarray(bias, np.float32), activation)


def _decoder(
    model: Fitted,
    codes: np.ndarray,
    conditions: list[Condition] | None,
    code: dict[str, Any],
    data: dict[str, Any],
) -> dict[str, Any]:
    """The layers, or where the page cannot run them a lattice of decodings and why."""
    try:
        layers = layers_of(model)
        _check(model, layers, codes, conditions, data)
    except Untranslatable as reason:
        return _lattice(model, str(reason), conditions, code, data)
    return {
        "layers": [
            {
                "inputs": layer.kernel.shape[0],
                "outputs": layer.kernel.shape[1],
                "kernel": packed(layer.kernel),
                "bias": packed(layer.bias),
                "activation": layer.activation,
            }
            for layer in layers
        ]
    }


def _check(
    model: Fitted,
    layers: list[Layer],
    codes: np.ndarray,
    conditions: list[Condition] | None,
    data: dict[str, Any],
) -> None:
    """Raises Untranslatable where the page would decode anything else than the model does."""
    weights = sum(layer.kernel.size for layer in layers)
    if weights > MOST_WEIGHTS:
        raise Untranslatable(f"its decoder has {weights:,} weights, too many for a page")
    z = codes[:CHECKED]
    vectors = [c.vector for c in conditions] if conditions else [np.zeros(0, np.float32)]
    for label, vector in enumerate(vectors):
        inputs = np.concatenate([z, np.broadcast_to(vector, (len(z), len(vector)))], axis=1)
        if inputs.shape[1] != layers[0].kernel.shape[0]:
            raise Untranslatable("its decoder sees more than the code")
        expected = _decoded(model, z, label).reshape(len(z), -1)
        deviation = np.abs(run_layers(layers, inputs) - expected).max()
        span = max(data["high"] - data["low"], float(np.ptp(expected)))
        if not deviation <= TOLERANCE * span:
            raise Untranslatable(
                f"dense layers in half precision differ from it by {deviation:.2g}"
            )


def _lattice(
    model: Fitted,
    reason: str,
    conditions: list[Condition] | None,
    code: dict[str, Any],
    data: dict[str, Any],
) -> dict[str, Any]:
    """Decodings over the first two dimensions, the others at the mean code: a group of them under
    each condition that the decoder sees."""
    groups = len(conditions) if conditions and len(conditions[0].vector) else 1
    low, high = np.array(code["low"]), np.array(code["high"])
    axes = [0, 1] if code["size"] == 2 else code["order"][:2]
    side = int(np.clip(math.isqrt(LATTICE_BYTES // (data["dim"] * groups)), 5, 25))
    rows = side if len(axes) == 2 else 1
    places = (np.arange(side) + 0.5) / side
    up, across = np.meshgrid(places[:rows], places, indexing="ij")
    z = np.tile(np.array(code["center"], np.float32), (rows * side, 1))
    for axis, share in zip(axes, (across, up), strict=False):
        z[:, axis] = low[axis] + share.ravel() * (high[axis] - low[axis])
    others = " The other dimensions stay at the mean code." if code["size"] > 2 else ""
    return {
        "why": f"This model is not decoded in the browser: {reason}. Shown are decodings that were "
        f"made before, on a lattice of {rows} by {side} codes.{others}",
        "lattice": {
            "axes": [*axes, -1][:2],
            "rows": rows,
            "columns": side,
            "groups": groups,
            "values": _values(np.concatenate([_decoded(model, z, g) for g in range(groups)]), data),
        },
    }


def _decoded(model: Fitted, z: np.ndarray, label: int) -> np.ndarray:
    """Means of p(x|z), under the condition of that number where there are some."""
    return model.decode(z, y=label if model.condition_kind == "label" else None, units="model")


def _code(
    model: Fitted, posterior: Any, codes: np.ndarray, prior: dict[str, Any] | None
) -> dict[str, Any]:
    """Size, ranges and centre of the code, and how much each dimension is used."""
    fixed = StandardNormal(codes.shape[1])
    is_standard = prior is not None and "codes" not in prior
    if not is_standard or posterior.is_deterministic or not has_kl_per_dim(posterior, fixed):
        importance, measure = codes.var(axis=0), "variance"
        order_text = "In order of the variance of their codes."
    else:
        importance = np.asarray(kl_per_dim(posterior, fixed)).mean(axis=0)
        measure, order_text = "KL", "In order of their KL to N(0, 1), in nats per example."
    low, high = np.quantile(codes, [0.002, 0.998], axis=0)
    margin = 0.05 * (high - low)
    center, least, most = codes.mean(axis=0), codes.min(axis=0), codes.max(axis=0)
    # Rates and shares stay in [0, 1], and what is never negative is left so.
    low = np.where(least >= 0, 0.0, low - margin)
    high = np.where((least >= 0) & (most > 0.5) & (most <= 1), 1.0, high + margin)
    if prior is not None and "codes" not in prior:
        low, high, center = np.minimum(low, -3), np.maximum(high, 3), np.zeros_like(center)
    flat = high - low < 1e-6 * np.maximum(np.abs(center), 1)
    low, high = np.where(flat, center - 1, low), np.where(flat, center + 1, high)
    return {
        "size": codes.shape[1],
        "low": low.tolist(),
        "high": high.tolist(),
        "center": center.tolist(),
        "order": np.argsort(-importance, kind="stable").tolist(),
        "importance": importance.tolist(),
        "measure": measure,
        "order_text": order_text,
    }


def _prior(model: Fitted) -> dict[str, Any] | None:
    """What the page draws from: N(0, I) by itself, another prior as draws; None without one."""
    if not model.has_prior:
        return None  # trained without a prior: what the codes are stands in for one
    if isinstance(model.setup.code_shapes()[1], StandardNormal):
        return {"name": "the prior N(0, I)"}
    if model.condition_kind != "label":
        return {"name": "the prior", "codes": packed(model.draw(DRAWS)), "groups": 1}
    # As many under each label, which the prior may look at.
    network: Any = model.setup.architecture.model
    labels = range(network.classes)
    draws = np.concatenate([model.draw(DRAWS, y=label) for label in labels])
    return {"name": "the prior", "codes": packed(draws), "groups": len(labels)}


def _data(model: Fitted, inputs: np.ndarray) -> dict[str, Any]:
    """The form of an example, and between which values it is shown."""
    dataset = model.setup.dataset
    low, high = float(inputs.min()), float(inputs.max())
    if low >= 0 and high <= 1 and dataset.is_picture:
        low, high = 0.0, 1.0
    return {
        "picture": dataset.is_picture,
        "shape": list(dataset.shape),
        "dim": math.prod(dataset.shape),
        "low": low,
        "high": high if high > low else low + 1.0,
    }


def _values(values: np.ndarray, data: dict[str, Any]) -> dict[str, Any]:
    """Examples as the page reads them: bytes between low and high for pictures, else halves."""
    if not data["picture"]:
        return packed(values)
    share = (values - data["low"]) / (data["high"] - data["low"])
    return {"bytes": _base64(np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8).tobytes())}


def _labels(survey: Split, chosen: np.ndarray, names: tuple[str, ...] | None) -> dict[str, Any]:
    """The class of each example, and the classes with their colours; one class without labels."""
    if survey.y is None:
        return {"of": None, "classes": [{"name": "test example", "color": class_colors(1)[0]}]}
    classes, of = np.unique(np.asarray(survey.y)[chosen], return_inverse=True)
    colors = class_colors(len(classes))
    named = [
        {"name": names[c] if names else str(c), "color": color}
        for c, color in zip(classes, colors, strict=True)
    ]
    return {"of": of.tolist(), "classes": named}


def _example_count(dim: int) -> int:
    return int(np.clip(EXAMPLE_BYTES // dim, FEWEST_EXAMPLES, MOST_EXAMPLES))


def _spaced(available: int, wanted: int) -> np.ndarray:
    """Evenly spaced indices: a split may be sorted by class."""
    count = min(available, wanted)
    return (np.arange(count) * available) // max(count, 1)


def _method(model: Fitted) -> str:
    return display_name(method_name(model.config))


def _summary(model: Fitted) -> str:
    length = _counted(model.step, model.config.counted_in)
    return (
        f"A walk through codes of {_counted(model.setup.latent_dim, 'dimension')}, after "
        f"{length}. The page decodes by itself and needs no network."
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
