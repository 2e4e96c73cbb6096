"""Members of a grid from what varies over it: options with values, crossed or side by side."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ae_jax.core.errors import UserError
from ae_jax.models.config import PARTS
from ae_jax.train.config import RunConfig, from_dict, override, to_dict
from ae_jax.train.grid import Member

SEED = "train.seed"
# What a data set is loaded by, which is done once.
OF_THE_DATA = ("data.name", "data.protocol", "data.limit", "data.layout")
_MOST = 10_000  # members; more of them are a slip of the pen

# The values of some options, by path.
Setting = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Over:
    """What varies: `crossed` in all combinations, with those of `zipped`, which go side by side, or
    with each of the settings that are `listed`; and each combination with so many `seeds`.
    """

    crossed: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    zipped: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    listed: Sequence[Setting] = ()
    seeds: int = 1

    def settings(self) -> list[Setting]:
        """All combinations, without seeds. Raises UserError for what cannot be combined."""
        lengths = {len(values) for values in self.zipped.values()}
        if len(lengths) > 1:
            sizes = ", ".join(f"{path} {len(values)}" for path, values in self.zipped.items())
            raise UserError(f"values side by side are as many for each option: {sizes}")
        paths = [*self.crossed, *self.zipped, *{path: 0 for one in self.listed for path in one}]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise UserError(f"{twice[0]} varies in two ways at once")
        _check_paths(paths)
        if SEED in paths and self.seeds > 1:
            raise UserError(f"{SEED} varies, and so many seeds are asked for too: choose one")
        rows = zip(*self.zipped.values(), strict=True) if self.zipped else [()]
        beside = [dict(zip(self.zipped, row, strict=True)) for row in rows]
        factors: list[Sequence[Setting]] = [
            *([{path: value} for value in values] for path, values in self.crossed.items()),
            beside,
            self.listed or [{}],
        ]
        count = self.seeds
        for factor in factors:
            count *= len(factor)
        if not 1 <= count <= _MOST:
            raise UserError(f"a grid has between 1 and {_MOST:,} members, not {count:,}")
        combined = itertools.product(*factors)
        return [{k: v for part in parts for k, v in part.items()} for parts in combined]


def _check_paths(paths: Sequence[str]) -> None:
    for path in paths:
        if path in OF_THE_DATA:
            raise UserError(f"a grid has one data set: {path} does not vary over it")


def members_over(base: RunConfig, over: Over) -> dict[str, tuple[Setting, list[Member]]]:
    """Of each setting, by its name, the members with its seeds. Raises UserError.

    The seeds of a setting count up from that of the base.
    """
    found: dict[str, tuple[Setting, list[Member]]] = {}
    for setting in over.settings():
        name = name_of(setting) or "base"
        if name in found:
            raise UserError(f"two members of the grid are {name}")
        config = _with(base, setting)
        members = [Member(name, config)]
        if over.seeds > 1:
            first = config.train.seed
            members = [
                Member(f"{name}/seed={seed}", _with(config, {SEED: seed}))
                for seed in range(first, first + over.seeds)
            ]
        found[name] = setting, members
    return found


def name_of(setting: Setting) -> str:
    """A setting as a folder is called: `latent_dim=2,learning_rate=0.01`."""
    words = zip(short_names(list(setting)), setting.values(), strict=True)
    return ",".join(f"{word}={_word(value)}" for word, value in words)


def short_names(paths: Sequence[str]) -> list[str]:
    """Options by their last words; by their whole paths where that is another's too.

    The batch size is that of training, whether or not it is among them.
    """
    short = [path.rpartition(".")[2] for path in paths]
    return [
        word if short.count(word) == 1 and word != "name" and path != "eval.batch_size" else path
        for path, word in zip(paths, short, strict=True)
    ]


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(_word, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).rpartition("/")[2].replace(",", ";").replace("/", "_")


def _with(config: RunConfig, setting: Setting) -> RunConfig:
    values = to_dict(config)
    kept: Setting = {}
    for path, value in setting.items():
        kept |= _chosen(values, path, value)
    kept = {path: value for path, value in kept.items() if path not in setting}
    assignments = [f"{path}={json.dumps(value)}" for path, value in (kept | setting).items()]
    changed = from_dict(override(values, assignments))
    if not isinstance(changed, RunConfig):
        raise UserError("a grid trains networks, and a codec is fitted without training")
    return changed


def _chosen(values: Mapping[str, Any], path: str, value: Any) -> Setting:
    """The options that were chosen beside a name, for another one that takes its place.

    Members of a grid differ in what is varied and in nothing else. Raises UserError for an option
    that the other one has not.
    """
    section, _, option = path.removesuffix(".name").partition(".")
    if path == f"{section}.name" and section in ("objective", "optim"):
        before = _table(values, section)
        usual = _table(_usual({section: {"name": before["name"]}}), section)
        other = _table(_usual({section: {"name": value}}), section)
    elif section == "model" and option in PARTS:
        before = _table(values["model"], option)
        usual = _table(_usual({"model": {option: before["name"]}})["model"], option)
        other = _table(_usual({"model": {option: value}})["model"], option)
    else:
        return {}
    where = path.removesuffix(".name")
    chosen = {key: one for key, one in before.items() if key != "name" and one != usual.get(key)}
    for key, one in chosen.items():
        if key not in other:
            raise UserError(
                f"{where}.{key} is {json.dumps(one)}, and {where}={value} has no such option: "
                "leave it as it is, or make two grids"
            )
    return {f"{where}.{key}": one for key, one in chosen.items()}


def _usual(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in which nothing else was chosen."""
    return to_dict(from_dict(values))


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What has a name, with its options."""
    found = values[name]
    return found if isinstance(found, Mapping) else {"name": found}


def read_values(text: str) -> list[Any]:
    """Values as they are typed: `2,5,10`, `0:5` (0 to 4), `0:50:10`, `elbo,iwae`, or a JSON list.

    Raises UserError.
    """
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UserError(f"{text!r} is no list in JSON") from error
    elif ":" in text and all(part.lstrip("-").isdigit() for part in text.split(":")):
        bounds = [int(part) for part in text.split(":")]
        if len(bounds) > 3 or (len(bounds) == 3 and bounds[2] == 0):
            raise UserError(f"{text!r} is no range FIRST:END or FIRST:END:STEP")
        if len(range(*bounds)) > _MOST:
            raise UserError(f"{text!r} are {len(range(*bounds)):,} values, more than {_MOST:,}")
        values = list(range(*bounds))
    else:
        values = [_value(part) for part in text.split(",")]
    if not values:
        raise UserError(f"{text!r} holds no value")
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()
