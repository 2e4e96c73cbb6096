"""The configuration of a run: frozen dataclasses, JSON, and overrides by dotted path.

Sections such as `objective`, `optim` and `codec` are instances of registered dataclasses: in JSON
their `name` chooses the class and the remaining entries are its fields, so that a hyper-parameter
is declared once, where it is used. A configuration with the section `codec` is that of a fit
without backprop (`CodecConfig`), any other one that of a network (`RunConfig`).
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from ae_jax.codecs import CODECS, CodecSpec, Pca
from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count
from ae_jax.core.registry import Registry, absolute_reference, unknown_name
from ae_jax.data import absolute_name
from ae_jax.models.config import ModelConfig
from ae_jax.objectives import OBJECTIVES, Elbo, Objective
from ae_jax.train.optimisers import OPTIMISERS, Adam, Optimiser


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which examples.

    name           a registered data set, a `.npy` or `.npz` file, a folder of array_record files,
                   or `file.py:function`
    protocol       `paper` holds a validation split out (MNIST: 50,000 / 10,000 / 10,000),
                   `full` trains on it
    preprocess     a registered preprocessing; `auto` is `grey` for bounded values, else `identity`
    limit          train on the first so many examples only
    memory_budget  bytes on the device for examples; a larger set is streamed from the host, with
                   the same numbers. Default: nine tenths of the device's memory
    """

    name: str = "mnist"
    protocol: Literal["paper", "full"] = "paper"
    preprocess: str = "auto"
    limit: Count | None = None
    memory_budget: Count | None = None


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long and on what.

    batch_size  examples a step, over all devices together
    epochs      passes over the training split
    seed        of initial weights, order and noise
    parallel    `jit` (one device), or the same step on all devices: `sharded`, `shard_map`, `pmap`
    precision   of matrix products: `float32`, or faster and coarser on devices that have them
                `tensorfloat32` (10 bits of mantissa) and `bfloat16` (7)
    patience    stop after so many looks without a better bound on the validation split; never by
                default
    """

    batch_size: Count = 100
    epochs: Count = 10
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    parallel: Literal["jit", "sharded", "shard_map", "pmap"] = "jit"
    precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    patience: Count | None = None


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """When and on how much the run looks at itself; each look also saves a checkpoint.

    every             epochs between looks
    per_decade        looks at equal ratios instead: so many for each factor of ten in epochs
    train_examples    the first so many training examples stand for the training split
    batch_size        examples at once; metrics do not depend on it (a loss that looks at its whole
                      batch, such as free bits, does)
    """

    every: Count = 1
    per_decade: Count | None = None
    train_examples: Count = 10_000
    batch_size: Count = 1000


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: Objective = Elbo()
    optim: Optimiser = Adam()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """`seed` of all that is random in a fit."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


@dataclasses.dataclass(frozen=True)
class CodecEvalConfig:
    """`batch_size` examples are encoded at once; no number depends on it."""

    batch_size: Count = 1000


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """Everything that decides the numbers of a codec fitted without backprop."""

    data: DataConfig = DataConfig()
    codec: CodecSpec = Pca()
    train: FitConfig = FitConfig()
    eval: CodecEvalConfig = CodecEvalConfig()


AnyConfig = RunConfig | CodecConfig


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The sections of a configuration: plain dataclasses, and those whose class a name chooses."""

    config: type
    plain: Mapping[str, type]
    named: Mapping[str, Registry]
    default_names: Mapping[str, str]

    @property
    def sections(self) -> list[str]:
        return [*self.plain, *self.named]


_NETWORK = _Layout(
    RunConfig,
    {"data": DataConfig, "model": ModelConfig, "train": TrainConfig, "eval": EvalConfig},
    {"objective": OBJECTIVES, "optim": OPTIMISERS},
    {"objective": "elbo", "optim": "adam"},
)
_CODEC = _Layout(
    CodecConfig,
    {"data": DataConfig, "train": FitConfig, "eval": CodecEvalConfig},
    {"codec": CODECS},
    {"codec": "pca"},
)


def is_of_codec(values: Mapping[str, Any], assignments: Sequence[str] = ()) -> bool:
    """Whether nested dicts with assignments are the configuration of a codec, not of a network."""
    return "codec" in values or any(text.startswith("codec.") for text in assignments)


def to_dict(config: AnyConfig) -> dict[str, dict[str, Any]]:
    """The configuration as JSON-ready nested dicts, complete."""
    layout = _CODEC if isinstance(config, CodecConfig) else _NETWORK
    sections = {}
    for field in dataclasses.fields(config):
        section = getattr(config, field.name)
        values = json.loads(json.dumps(dataclasses.asdict(section)))
        if field.name in layout.named:
            values = {"name": layout.named[field.name].name_of(type(section)), **values}
        sections[field.name] = values
    return sections


def from_dict(values: Mapping[str, Mapping[str, Any]]) -> AnyConfig:
    """The configuration of possibly partial nested dicts; what is absent keeps its default.

    Raises UserError naming the option for anything unknown, ill-typed or out of range.
    """
    layout = _checked_layout(values)
    sections: dict[str, Any] = {}
    for name, section in values.items():
        options = {option: absolute_reference(value) for option, value in section.items()}
        if name == "data" and isinstance(options.get("name"), str):
            options["name"] = absolute_name(options["name"])
        if name in layout.named:
            chosen = options.pop("name", layout.default_names[name])
            kind = layout.named[name].get(str(chosen))
        else:
            kind = layout.plain[name]
        sections[name] = _section(name, kind, options)
    return layout.config(**sections)


def override(values: Mapping[str, Mapping[str, Any]], assignments: Sequence[str]) -> dict:
    """Nested dicts with `section.option=value` assignments applied.

    Values are JSON, or text where they are not. Naming another objective, optimiser or codec drops
    the options of the one before it.
    """
    layout = _checked_layout(values, assignments)
    result = {name: dict(section) for name, section in values.items()}
    # Names first: they decide which other options there are.
    for text in sorted(assignments, key=lambda a: ".name=" not in a):
        path, equals, raw = text.partition("=")
        section, dot, option = path.strip().partition(".")
        if not (equals and dot and option):
            raise UserError(f"{text!r} is not of the form section.option=value")
        try:
            value = json.loads(raw)
        except RecursionError as error:
            raise UserError(f"{path.strip()}: the value is nested too deeply") from error
        except ValueError:  # text, or a number of more digits than are read
            value = raw
        _check_names("section", "", [section], layout.sections)
        target = result.setdefault(section, {})
        if section in layout.named and option == "name":
            before = target.get("name", layout.default_names[section])
            if absolute_reference(value) != absolute_reference(before):
                target.clear()
        target[option] = value
    return result


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """The options in which two nested dicts differ, as `path: old -> new`."""
    lines = []
    for key in sorted({*old, *new}):
        here, a, b = f"{path}{key}", old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{here}.")
        elif a != b:
            lines.append(f"{here}: {json.dumps(a)} -> {json.dumps(b)}")
    return lines


def _checked_layout(values: Any, assignments: Sequence[str] = ()) -> _Layout:
    """The layout that values and assignments belong to. Raises UserError for other sections."""
    if not isinstance(values, Mapping):
        raise UserError("a configuration must be a table of sections")
    layout = _CODEC if is_of_codec(values, assignments) else _NETWORK
    _check_names("section", "", values, layout.sections)
    for name, section in values.items():
        if not isinstance(section, Mapping):
            raise UserError(f"configuration section {name!r} must be a table of options")
    return layout


def _section(name: str, kind: type, options: dict[str, Any]) -> Any:
    fields = [field.name for field in dataclasses.fields(kind)]
    _check_names("option", f"{name}.", options, fields)
    try:
        return TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *(str(part) for part in first["loc"])])
        message = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(
            f"{where}: {message}, not {json.dumps(first['input'], default=str)}"
        ) from error


def _check_names(kind: str, prefix: str, names, valid: Sequence[str]) -> None:
    for name in names:
        if name not in valid:
            raise unknown_name(
                f"configuration {kind}", f"{prefix}{name}", [prefix + v for v in valid]
            )
