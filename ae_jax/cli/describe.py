"""What `ae-jax list` says: names by kind, and what a part and its options mean."""

import dataclasses
import inspect
import json
from collections.abc import Iterable
from typing import Any, get_type_hints

import click

from ae_jax.cli.check import ANY, kind_of
from ae_jax.codecs import CODECS
from ae_jax.core.registry import absolute_reference, unknown_name
from ae_jax.data import DATA_SETS
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.data.missing import PATTERNS
from ae_jax.data.preprocess import PREPROCESSING
from ae_jax.eval import EVALUATORS, SCORES
from ae_jax.models import MODELS, ModelConfig
from ae_jax.models.build import REGISTRIES as PARTS
from ae_jax.models.build import own_options
from ae_jax.nn import ACTIVATIONS, DECODERS, ENCODERS, HEADS, INITIALISERS, LATENTS, PRIORS
from ae_jax.objectives import OBJECTIVES
from ae_jax.train.config import DataConfig, EvalConfig, TrainConfig
from ae_jax.train.optimisers import OPTIMISERS

REGISTRIES = (
    DATA_SETS, PREPROCESSING, MODELS, ENCODERS, LATENTS, PRIORS, DECODERS, HEADS, ACTIVATIONS,
    INITIALISERS, OBJECTIVES, OPTIMISERS, EVALUATORS, SCORES, CODECS, CORRUPTIONS, PATTERNS,
)  # fmt: skip
SECTIONS = {"data": DataConfig, "model": ModelConfig, "train": TrainConfig, "eval": EvalConfig}


def list_names() -> None:
    """Prints every registry."""
    width = max(len(registry.kind) for registry in REGISTRIES)
    for registry in REGISTRIES:
        click.echo(f"{registry.kind:>{width}}: {', '.join(registry)}")


def describe_name(name: str) -> None:
    """Prints what every part of that name, or section of options, says of itself."""
    if ".py:" in name:
        part = ANY.get(absolute_reference(name))
        parts = [(kind_of(part, name), part)]
    else:
        parts = [(registry.kind, registry.get(name)) for registry in REGISTRIES if name in registry]
    if name in SECTIONS:
        parts.append(("options", SECTIONS[name]))
    if not parts:
        valid = {*SECTIONS, *(each for registry in REGISTRIES for each in registry)}
        raise unknown_name("name", name, valid)
    for kind, part in parts:
        texts = [inspect.cleandoc(text) for text in _docs(part)]
        options = _options(kind, part, name)
        click.echo("\n\n".join([f"{kind} {name}", *texts, *options]) + "\n")


def _options(kind: str, part: Any, name: str) -> list[str]:
    """How each option of a part is set, with its type and default; nothing for other things."""
    fields: Iterable[dataclasses.Field]
    prefix = {"objective": "objective", "optimiser": "optim", "codec": "codec"}.get(kind)
    if kind in PARTS:
        prefix, fields = f"model.{kind}", own_options(kind, name).values()
    elif prefix is not None and dataclasses.is_dataclass(part):
        fields = dataclasses.fields(part)
    else:
        return []
    types = get_type_hints(part)
    lines = [
        f"  {prefix}.{field.name}={_shown(field)}  ({_type_name(types[field.name])})"
        for field in fields
    ]
    return ["\n".join(["set by --set, with defaults:", *lines])] if lines else []


def _shown(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return _as_json(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return _as_json(field.default_factory())
    return "..."


def _as_json(value: Any) -> str:
    """As --set takes it; what JSON does not hold, such as a function, by its name."""
    try:
        return json.dumps(value)
    except TypeError:
        return getattr(value, "__name__", repr(value))


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _docs(part: Any) -> list[str]:
    """The text of a part and, for a class, of those from which it has options."""
    if not isinstance(part, type):
        text = part.__doc__ or type(part).__doc__ or "(undocumented)"
        own = getattr(part, "__module__", "").startswith("ae_jax")
        return [text if own else text.split("\n\n")[0]]
    own = ("ae_jax", "ae_jax_user_")
    classes = [one for one in part.__mro__ if one.__module__.startswith(own)]
    with_options = [
        one for one in classes if dataclasses.is_dataclass(one) and dataclasses.fields(one)
    ]
    chosen = dict.fromkeys([part, *with_options])
    return [one.__dict__.get("__doc__") or "(undocumented)" for one in chosen]
