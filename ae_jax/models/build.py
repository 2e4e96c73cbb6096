"""From the section `model` of a configuration to a module: parts by name, with their options."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from pydantic import TypeAdapter, ValidationError

from ae_jax.core.errors import UserError
from ae_jax.core.fields import refusal, refuse_truth, types_of
from ae_jax.core.registry import Registry, unknown_name
from ae_jax.models.autoencoder import Autoencoder
from ae_jax.models.config import PARTS, Examples, ModelConfig
from ae_jax.nn import ACTIVATIONS, DECODERS, ENCODERS, HEADS, LATENTS, PRIORS
from ae_jax.nn.forward import asked_for, needs_condition
from ae_jax.nn.initialisers import fitting

REGISTRIES: Mapping[str, Registry] = {
    "encoder": ENCODERS,
    "latent": LATENTS,
    "prior": PRIORS,
    "decoder": DECODERS,
    "head": HEADS,
}
# Fields of a part that the model fills in, and the option that decides each: all other fields are
# options of the part's own.
_HIDDEN, _DECODER_HIDDEN = "model.hidden", "model.decoder_hidden"
FILLED_IN: Mapping[str, Mapping[str, str]] = {
    "encoder": {"hidden": _HIDDEN, "activation": "model.activation"},
    "latent": {"dim": "model.latent_dim", "k": "model.latent_k"},
    "prior": {"dim": "model.latent_dim", "shape": "the data"},
    "decoder": {
        "hidden": _DECODER_HIDDEN,
        "activation": "model.activation",
        "shape": "the data",
    },
    "head": {"shape": "the data", "scale": "model.head_scale"},
}


def build_autoencoder(config: ModelConfig, examples: Examples) -> Autoencoder:
    """The composition that the config names, for such examples.

    Raises UserError for unknown names and options, for convolutions on anything but images, and
    for a condition that the data or the parts have not.
    """
    activation = ACTIVATIONS.get(config.activation)
    prior = settled_prior(config)
    names = {part: getattr(config, part) for part in PARTS} | {"prior": prior}
    _check_images("encoder", names["encoder"], config.hidden, examples.shape)
    _check_images("decoder", names["decoder"], config.mirrored_hidden, examples.shape)
    known: dict[str, dict[str, Any]] = {
        "encoder": {"hidden": config.hidden, "activation": activation},
        "latent": {"dim": config.latent_dim, "k": config.latent_k},
        "prior": {"dim": config.latent_dim, "shape": examples.shape},
        "decoder": {
            "hidden": config.mirrored_hidden,
            "activation": activation,
            "shape": examples.shape,
        },
        "head": {"shape": examples.shape, "scale": config.head_scale},
    }
    built = {
        part: _built(part, names[part], known[part], config.options_of(part)) for part in PARTS
    }
    _check_used(config, names)
    _check_condition(config, examples, names)
    return Autoencoder(
        encoder=built["encoder"],
        latent=built["latent"],
        prior_part=built["prior"],
        decoder=built["decoder"],
        head=built["head"],
        tied=config.tied,
        condition=config.condition,
        classes=examples.classes,
        into=config.into,
    )


def settled_prior(config: ModelConfig) -> str:
    """The name of the prior, `auto` settled by the latent."""
    if config.prior != "auto":
        return config.prior
    return getattr(LATENTS.get(config.latent), "default_prior", "standard_normal")


def settled_start(config: ModelConfig) -> ModelConfig:
    """The configuration with `init=auto` settled by the activation."""
    if config.init != "auto":
        return config
    scheme, factor = fitting(config.activation)
    return dataclasses.replace(config, init=scheme, init_scale=config.init_scale * factor)


def part_class(part: str, name: str) -> type[nn.Module]:
    """The class of a part. Raises UserError for what is no Linen module."""
    found = REGISTRIES[part].get(name)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    raise UserError(
        f"{part} {name!r} is no class derived from flax.linen.Module, but "
        f"{'a class of another kind' if isinstance(found, type) else type(found).__name__}"
    )


def own_options(part: str, name: str) -> dict[str, dataclasses.Field]:
    """The fields of a part that are options of its own, by name."""
    taken = {*FILLED_IN[part], "parent", "name"}
    fields = dataclasses.fields(part_class(part, name))
    return {field.name: field for field in fields if field.init and field.name not in taken}


def checked_options(part: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a part in the types that it declares. Raises UserError for the first wrong one."""
    own, kinds = own_options(part, name), types_of(part_class(part, name))
    checked = {}
    for option, value in given.items():
        if option not in own:
            if option in FILLED_IN[part]:
                raise UserError(f"model.{part}.{option} is decided by {FILLED_IN[part][option]}")
            raise unknown_name(f"option of {part} {name}", option, own)
        refuse_truth(f"model.{part}.", kinds, {option: value})
        try:
            checked[option] = TypeAdapter(kinds[option]).validate_python(value)
        except ValidationError as error:
            raise refusal(f"model.{part}.{option}", error) from error
    return checked


def defaults_of(part: str, name: str) -> dict[str, Any]:
    """The options of a part's own at their defaults, without those that must be given.

    What JSON does not hold, such as a function, is no option of a configuration: it is left out.
    """
    own = own_options(part, name)
    defaults = {option: _default(field) for option, field in own.items() if _has_default(field)}
    return {option: value for option, value in defaults.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    """Whether JSON holds it."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_plain(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def nested(config: ModelConfig) -> dict[str, Any]:
    """The section as JSON-ready values: a part with options is a table of its name and these."""
    values = dataclasses.asdict(config)
    del values["options"]
    for part in PARTS:
        name = values[part]
        if name == "auto" or config.name != "autoencoder":
            given = config.options_of(part)
        else:
            given = defaults_of(part, name) | config.options_of(part)
        if given:
            values[part] = {"name": name, **given}
    return values


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """What `nested` was made of: fields of `ModelConfig`. Raises UserError for unknown options."""
    fields, options = dict(values), []
    for part in PARTS:
        table = fields.get(part)
        if not isinstance(table, Mapping):
            continue
        given = dict(table)
        name = given.pop("name", _DEFAULTS[part])
        if not isinstance(name, str):
            raise UserError(f"model.{part}.name has to be a name, not {name!r}")
        fields[part] = name
        if name != "auto":
            defaults = defaults_of(part, name)
            # What is as it would be anyway is left out: equal configurations compare equal.
            given = {
                option: value
                for option, value in checked_options(part, name, given).items()
                if option not in defaults or defaults[option] != value
            }
        options += [(f"{part}.{option}", value) for option, value in sorted(given.items())]
    return fields | ({"options": tuple(options)} if options else {})


_DEFAULTS = {part: getattr(ModelConfig(), part) for part in PARTS}


def _has_default(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _default(field: dataclasses.Field) -> Any:
    made: Any = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _built(part: str, name: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> nn.Module:
    kind = part_class(part, name)
    fields = {field.name for field in dataclasses.fields(kind)}
    options = {field: value for field, value in known.items() if field in fields}
    options |= checked_options(part, name, given)
    try:
        return kind(**options)
    except TypeError as error:
        raise UserError(f"{part} {name!r} cannot be built: {error}") from error


def _check_used(config: ModelConfig, names: Mapping[str, str]) -> None:
    """Raises UserError for a size or scale that was given and that no part would look at."""
    plain, latent = ModelConfig(), part_class("latent", names["latent"])
    if config.latent_k != plain.latent_k and "k" not in types_of(latent):
        raise UserError(
            f"model.latent_k={config.latent_k} is for codes that keep their k highest units "
            f"(top_k, batch_top_k), and model.latent is {names['latent']}"
        )
    if config.decoder_hidden and "hidden" not in types_of(part_class("decoder", names["decoder"])):
        raise UserError(
            f"model.decoder_hidden={list(config.decoder_hidden)} is for a decoder with layers, and "
            f"model.decoder is {names['decoder']}"
        )
    head = part_class("head", names["head"])
    own = "has_scale" not in dir(head) and "scale" in types_of(head)  # a user's, with its field
    if config.head_scale != plain.head_scale and not (own or getattr(head, "has_scale", False)):
        raise UserError(
            f"model.head_scale={config.head_scale:g} is for a head with a scale of its own "
            f"(gaussian_fixed, gaussian_global), and model.head is {names['head']}"
        )


def _check_images(role: str, name: str, hidden: tuple[int, ...], shape: tuple[int, ...]) -> None:
    # A user's own part need not say what it is for.
    if not getattr(part_class(role, name), "for_images", False):
        return
    if len(shape) != 3:
        raise UserError(
            f"{role} {name!r} works on images (height, width, channels); the examples have "
            f"shape {shape}"
        )
    if not hidden:
        raise UserError(f"{role} {name!r} needs at least one layer, and model.hidden is empty")


def _check_condition(config: ModelConfig, examples: Examples, names: Mapping[str, str]) -> None:
    """Raises UserError for a condition that data or a part lack, or that a part does not take."""
    for part, name in names.items():
        without = config.condition == "none" or part not in config.into
        if without and needs_condition(part_class(part, name)):
            raise UserError(
                f"{part} {name!r} needs a condition: set model.condition, and model.into to parts "
                f"of which {part} is one"
            )
    if config.condition == "none":
        if config.into != ModelConfig().into:
            raise UserError(
                f"model.into={','.join(config.into)} says what sees the condition, and "
                "model.condition is none"
            )
        return
    if config.condition == "label" and examples.classes is None:
        raise UserError("model.condition=label needs labels, and the data have none")
    if config.condition == "input" and examples.condition is None:
        raise UserError(
            "model.condition=input needs a condition beside each example, and the data have none"
        )
    if not config.into:
        raise UserError("model.into is empty: no part would see the condition")
    for part in config.into:
        if "condition" not in asked_for(part_class(part, names[part])):
            raise UserError(
                f"{part} {names[part]!r} takes no condition: its __call__ has no parameter of that "
                f"name; leave {part} out of model.into, or choose another"
            )
    if "encoder" in config.into and "encode" in asked_for(part_class("prior", names["prior"])):
        raise UserError(
            f"prior {names['prior']!r} encodes data of its own, for which there is no condition; "
            "leave encoder out of model.into, or choose another"
        )
