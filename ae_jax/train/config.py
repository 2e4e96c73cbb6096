"""The configuration of a run: frozen dataclasses, JSON, and overrides by dotted path.

Sections such as `objective`, `optim` and `codec` are instances of registered dataclasses: in JSON
their `name` chooses the class and the remaining entries are its fields, so that a hyper-parameter
is declared once, where it is used. A configuration with the section `codec` is that of a fit
without backprop (`CodecConfig`), any other one that of a network (`RunConfig`).
"""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, TypeAdapter, ValidationError

from ae_jax.codecs import CODECS, CodecSpec, Pca
from ae_jax.core.errors import UserError, shortened
from ae_jax.core.fields import refusal, refuse_truth, types_of
from ae_jax.core.ranges import Count
from ae_jax.core.registry import Registry, absolute_reference, unknown_name
from ae_jax.data import absolute_name
from ae_jax.data.base import DataSet
from ae_jax.models.build import flattened, nested
from ae_jax.models.config import PARTS, ModelConfig
from ae_jax.objectives import OBJECTIVES, Elbo, Objective
from ae_jax.train.optimisers import OPTIMISERS, Adam, Optimiser

Protocol = Literal["paper", "full"]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which examples.

    name           a registered data set, a file or folder of yours (see `ae_jax.data.load`), or
                   `file.py:function`
    protocol       `paper` holds a validation split out (MNIST: 50,000 / 10,000 / 10,000),
                   `full` trains on it
    preprocess     a registered preprocessing; `auto` is `grey` for bounded values, else `identity`
    limit          train on the first so many examples only
    memory_budget  bytes on the device for examples; a larger set is streamed from the host, with
                   the same numbers. Default: nine tenths of the device's memory
    layout         of your own images: `channels_first` where they are [N, C, H, W]
    placement      `replicated`: every device holds all examples; `sharded`: each holds a part, and
                   a step fetches the rows of its batch, with the same numbers (`train.parallel` is
                   `sharded` or `shard_map`). Either is refused where it does not fit. `auto` is the
                   first that fits, and streams from the host what fits on no device
    """

    name: str = "mnist"
    protocol: Protocol = "paper"
    preprocess: str = "auto"
    limit: Count | None = None
    memory_budget: Count | None = None
    layout: Literal["channels_last", "channels_first"] = "channels_last"
    placement: Literal["auto", "replicated", "sharded"] = "auto"

    @classmethod
    def of(cls, dataset: DataSet, preprocess: str, **others: Any) -> "DataConfig":
        """What says where these very examples come from; `others` are further options."""
        protocol = cast(Protocol, dataset.protocol)
        return cls(dataset.name, protocol, preprocess, dataset.limit, **others)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long and on what.

    batch_size  examples a step, over all devices together
    epochs      passes over the training split
    seed        of initial weights, order and noise
    parallel    `jit` (one device), or the same step on all devices: `sharded`, `shard_map`, `pmap`
    precision   of matrix products: `float32`, or faster and coarser on devices that have them
                `tensorfloat32` (10 bits of mantissa) and `bfloat16` (7)
    patience    stop after so many looks without a better bound on the validation split (the
                training split, where none is held out); never by default
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
    """Everything that decides the numbers of a run.

    groups   optimisers of groups of parameters, in place of `optim`: of a group of the objective
             (`groups.sleep.learning_rate=0.1`), or of a part of the model (`groups.decoder...`)
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: Objective = Elbo()
    optim: Optimiser = Adam()
    groups: tuple[tuple[str, Optimiser], ...] = ()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    # In what networks and codecs differ is said here and in `CodecConfig`: nobody asks which it is.
    kind: ClassVar[str] = "network"
    method_section: ClassVar[str] = "objective"
    counted_in: ClassVar[str] = "step"

    @property
    def latent_dim(self) -> int:
        """Size of the code."""
        return self.model.latent_dim

    @property
    def follows_its_length(self) -> bool:
        """Whether the steps of a run depend on how many epochs it has, as a schedule makes them, or
        as an optimiser of the user's own may."""
        return any(
            type(optim).build is not Optimiser.build
            or type(optim).rate is not Optimiser.rate
            or optim.schedule not in ("constant", "plateau")
            or optim.warmup > 0
            for optim in (self.optim, *(optim for _, optim in self.groups))
        )

    def on_one_device(self) -> Self:
        """The configuration to look at a run, whatever it was trained on."""
        return dataclasses.replace(self, train=dataclasses.replace(self.train, parallel="jit"))

    def form(self) -> str:
        """What is fitted, in a few words."""
        sizes = "-".join(map(str, (*self.model.hidden, self.latent_dim)))
        return f"{self.model.name} {sizes}, {self.model.latent} code, {self.model.head} head"

    def progress(self, records: Sequence[Mapping[str, Any]], step: int) -> str:
        """How far it was fitted, in a few words."""
        done, epochs = records[-1]["epoch"] if records else 0, self.train.epochs
        return f"objective {method_name(self)}, epoch {done:,} of {epochs:,}"


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

    kind: ClassVar[str] = "codec"
    method_section: ClassVar[str] = "codec"
    counted_in: ClassVar[str] = "iteration"
    follows_its_length: ClassVar[bool] = False

    @property
    def latent_dim(self) -> int:
        """Size of the code."""
        return self.codec.latent_dim

    def on_one_device(self) -> Self:
        return self

    def form(self) -> str:
        return f"{method_name(self)}, {self.latent_dim} atoms"

    def progress(self, records: Sequence[Mapping[str, Any]], step: int) -> str:
        converged = bool(records) and records[-1].get("converged")
        return f"{step:,} iterations, {'converged' if converged else 'not converged'}"


AnyConfig = RunConfig | CodecConfig


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The sections of a configuration: plain dataclasses, those whose class a name chooses, and
    tables of such, with the section that they are like."""

    config: type
    plain: Mapping[str, type]
    named: Mapping[str, Registry]
    default_names: Mapping[str, str]
    tables: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def sections(self) -> list[str]:
        return [*self.plain, *self.named, *self.tables]


_NETWORK = _Layout(
    RunConfig,
    {"data": DataConfig, "model": ModelConfig, "train": TrainConfig, "eval": EvalConfig},
    {"objective": OBJECTIVES, "optim": OPTIMISERS},
    {"objective": "elbo", "optim": "adam"},
    {"groups": "optim"},
)
_CODEC = _Layout(
    CodecConfig,
    {"data": DataConfig, "train": FitConfig, "eval": CodecEvalConfig},
    {"codec": CODECS},
    {"codec": "pca"},
)


_LAYOUTS = {"network": _NETWORK, "codec": _CODEC}


def method_name(config: AnyConfig) -> str:
    """The registered name of the objective, or of the codec; of one that has none its class."""
    layout, method = _LAYOUTS[config.kind], getattr(config, config.method_section)
    registry = layout.named[config.method_section]
    try:
        return registry.name_of(type(method))
    except UserError:
        return type(method).__name__


def is_of_codec(values: Mapping[str, Any], assignments: Sequence[str] = ()) -> bool:
    """Whether nested dicts with assignments are the configuration of a codec, not of a network."""
    return "codec" in values or any(text.startswith("codec.") for text in assignments)


def to_dict(config: AnyConfig) -> dict[str, dict[str, Any]]:
    """The configuration as JSON-ready nested dicts, complete."""
    layout = _LAYOUTS[config.kind]
    sections: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        section = getattr(config, field.name)
        if field.name in layout.tables:
            registry = layout.named[layout.tables[field.name]]
            sections[field.name] = {name: _named_values(registry, one) for name, one in section}
        elif field.name in layout.named:
            sections[field.name] = _named_values(layout.named[field.name], section)
        else:
            is_model = isinstance(section, ModelConfig)
            sections[field.name] = _plain(nested(section) if is_model else asdict(section))
    return sections


def _named_values(registry: Registry, section: Any) -> dict[str, Any]:
    return {"name": registry.name_of(type(section)), **_plain(asdict(section))}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it: tuples are lists."""
    return json.loads(json.dumps(values))


def from_dict(values: Mapping[str, Mapping[str, Any]]) -> AnyConfig:
    """The configuration of possibly partial nested dicts; what is absent keeps its default.

    Raises UserError naming the option for anything unknown, ill-typed or out of range.
    """
    layout = _checked_layout(values)
    sections: dict[str, Any] = {}
    for name, section in values.items():
        options = _absolute(section)
        if name == "data" and isinstance(options.get("name"), str):
            options["name"] = absolute_name(options["name"])
        if name in layout.tables:
            like = layout.tables[name]
            sections[name] = tuple(
                (group, _named_section(layout, like, f"{name}.{group}", _table(group, table)))
                for group, table in sorted(options.items())
            )
        elif name in layout.named:
            sections[name] = _named_section(layout, name, name, options)
        else:
            if name == "model":
                options = flattened(options)
            sections[name] = _section(name, layout.plain[name], options)
    return layout.config(**sections)


def _absolute(section: Mapping[str, Any]) -> dict[str, Any]:
    """References to users' files with their whole paths, in tables of the section too."""
    return {
        option: _absolute(value) if isinstance(value, Mapping) else absolute_reference(value)
        for option, value in section.items()
    }


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"groups.{name} must be a table of options")
    return dict(value)


def _named_section(layout: _Layout, like: str, where: str, options: dict[str, Any]) -> Any:
    """An instance of the class that a name chooses, of the kind of the section `like`."""
    chosen = options.pop("name", layout.default_names[like])
    return _section(where, layout.named[like].get(str(chosen)), options)


def override(values: Mapping[str, Mapping[str, Any]], assignments: Sequence[str]) -> dict:
    """Nested dicts with `section.option=value` assignments applied.

    Values are JSON, or text where they are not. Naming another objective, optimiser, codec or part
    drops the options of the one before it.
    """
    layout = _checked_layout(values, assignments)
    result = {name: copy.deepcopy(dict(section)) for name, section in values.items()}
    # Names first: they decide which other options there are.
    for text in sorted(assignments, key=lambda text: not _names(text)):
        path, equals, raw = text.partition("=")
        section, dot, option = path.strip().partition(".")
        if not (equals and dot and option):
            raise UserError(
                f"{shortened(text)!r} is not of the form section.option=value"
                f"{_meant(path.strip(), layout) if equals else ''}"
            )
        try:
            value = json.loads(raw)
        except RecursionError as error:
            raise UserError(f"{path.strip()}: the value is nested too deeply") from error
        except ValueError:  # text, or a number of more digits than are read
            value = raw
        _check_names("section", "", [section], layout.sections)
        target = result.setdefault(section, {})
        place, is_deeper, inner = option.partition(".")
        if section == "model" and place in PARTS:
            target[place] = _with_part(target.get(place), place, inner or "name", value)
            continue
        if is_deeper:
            if section not in layout.tables:
                raise UserError(f"{section}.{place} has no options of its own: {path.strip()}")
            target = target.setdefault(place, {})
            option, section = inner, layout.tables[section]
        if section in layout.named and option == "name":
            before = target.get("name", layout.default_names[section])
            if absolute_reference(value) != absolute_reference(before):
                target.clear()
        target[option] = value
    return result


def _names(assignment: str) -> bool:
    """Whether it names an exchangeable part, which decides what other options there are."""
    path = assignment.partition("=")[0].strip()
    return path.endswith(".name") or path in {f"model.{part}" for part in PARTS}


def _with_part(before: Any, part: str, option: str, value: Any) -> Any:
    """A part of the model, a name or a table of name and options, with one assignment applied."""
    table = (
        dict(before) if isinstance(before, Mapping) else {} if before is None else {"name": before}
    )
    if option == "name":
        if absolute_reference(value) != absolute_reference(table.get("name")):
            return value
        return table
    return table | {option: value}


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested options by their paths, such as `model.latent_dim`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{before}{name}"
        found |= flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return found


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
            raise UserError(f"configuration section {shortened(name)!r} must be a table of options")
    return layout


def _meant(option: str, layout: _Layout) -> str:
    """Which options of a section have this name, as a hint; or nothing."""
    kinds = dict(layout.plain)
    for section, registry in layout.named.items():
        kinds[section] = registry.get(layout.default_names[section])
    found = [
        f"{section}.{option}"
        for section, kind in kinds.items()
        if option in {field.name for field in dataclasses.fields(kind)}
    ]
    return f": did you mean {' or '.join(found)}?" if found else ""


@lru_cache(maxsize=256)  # it takes milliseconds, and a grid asks for each of its members
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)


def _section(name: str, kind: type, options: dict[str, Any]) -> Any:
    fields = [field.name for field in dataclasses.fields(kind)]
    _check_names("option", f"{name}.", options, fields)
    refuse_truth(f"{name}.", types_of(kind), options)
    try:
        return _adapter(kind).validate_python(options)
    except ValidationError as error:
        raise refusal(name, error) from error


def _check_names(kind: str, prefix: str, names, valid: Sequence[str]) -> None:
    for name in names:
        if name not in valid:
            raise unknown_name(
                f"configuration {kind}", f"{prefix}{name}", [prefix + v for v in valid]
            )
