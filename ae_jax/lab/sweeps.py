"""What is measured over seeds and over options: means with their standard errors."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.api.options import by_path
from ae_jax.core.errors import UserError
from ae_jax.eval.estimates import standard_error
from ae_jax.train.config import RunConfig, to_dict
from ae_jax.train.over import Setting, short_names

Measure = Callable[[Fitted], float]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The mean of a measure over seeds, its standard error, and the values [S].

    Of one seed nothing is known of the spread: the error is 0, and no claim counts it. Of a
    difference, `values` are none, and `seeds` those of the side that has fewer.
    """

    mean: float
    standard_error: float
    values: tuple[float, ...]
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Estimate":
        """Raises UserError for no values: where every seed diverged there is no mean."""
        found = tuple(float(value) for value in values)
        if not found:
            raise UserError("there is no mean of no seeds: all of them diverged")
        if not np.isfinite(found).all():
            raise UserError(f"there is no mean of what is not finite: {found}")
        return cls(float(np.mean(found)), standard_error(np.asarray(found)), found, len(found))

    def less(self, other: "Estimate") -> "Estimate":
        """The difference of two means; the errors of independent seeds add in squares."""
        error = float(np.hypot(self.standard_error, other.standard_error))
        return Estimate(self.mean - other.mean, error, (), min(self.seeds, other.seeds))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Models of a sweep, without those that diverged.

    settings   the options that vary, by the name of the setting
    models     of each setting, its seeds by the names of their runs
    """

    settings: Mapping[str, Setting]
    models: Mapping[str, Mapping[str, Fitted]]

    @property
    def fitted(self) -> dict[str, Fitted]:
        """All models by the names of their runs."""
        return {name: model for own in self.models.values() for name, model in own.items()}

    def estimates(self, measure: Measure) -> dict[str, Estimate]:
        """A measure by the name of the setting, over its seeds.

        Raises UserError for a setting of which all seeds diverged.
        """
        for name, own in self.models.items():
            if not own:
                raise UserError(f"all seeds of {name} diverged: it has no mean")
        return {name: Estimate.of(map(measure, own.values())) for name, own in self.models.items()}

    def table(self, **measures: Measure) -> list[dict[str, Any]]:
        """A row a setting: its options, seeds, and each measure with its standard error.

        Cells are empty where all seeds diverged, and the error of one seed is. Raises UserError for
        a measure that is called as another column.
        """
        rows = []
        for name, setting in self.settings.items():
            row = dict(zip(short_names(list(setting)), setting.values(), strict=True))
            models = self.models[name].values()
            row["seeds"] = len(models)
            for called, measure in measures.items():
                words = called.replace("_", " ")
                if words in row:
                    raise UserError(f"a column of the sweep is called {words}: rename the measure")
                one = Estimate.of(map(measure, models)) if models else None
                row[words] = "" if one is None else one.mean
                # One seed has no spread.
                row[f"{words} ±"] = "" if one is None or len(one.values) < 2 else one.standard_error
            rows.append(row)
        return rows

    def curve(self, option: str, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
        """A measure [S, n] over the values [n] of an option, as figures of curves take it.

        Raises UserError where another option varies too, or a setting has lost a seed.
        """
        at: list[float] = []
        for setting in self.settings.values():
            names = dict(zip(short_names(list(setting)), setting.values(), strict=True))
            if set(names) != {option}:
                raise UserError(f"a curve over {option} needs a sweep over that alone")
            if not isinstance(names[option], int | float):
                raise UserError(f"a curve is over numbers: {option} is {names[option]!r}")
            at.append(float(names[option]))
        values = [estimate.values for estimate in self.estimates(measure).values()]
        if len({len(one) for one in values}) > 1:
            raise UserError(f"a curve over {option} needs as many seeds at each value")
        order = np.argsort(at)
        return np.asarray(at)[order], np.asarray(values).T[:, order]

    def varied(self) -> dict[str, list[Any]]:
        """The options that vary, by their last words, with their values in order."""
        found: dict[str, list[Any]] = {}
        for setting in self.settings.values():
            for name, value in zip(short_names(list(setting)), setting.values(), strict=True):
                if value not in found.setdefault(name, []):
                    found[name].append(value)
        return found


def paths_of(config: RunConfig, over: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """What varies by the paths of its options: `latent_dim` is `model.latent_dim`.

    Raises UserError for what no option, or more than one, is called.
    """
    found: dict[str, Sequence[Any]] = {}
    for name, values in over.items():
        listed = _listed(name, values)
        (path,) = by_path(to_dict(config), {name.replace(".", "__"): listed[0]})
        if path in found:
            raise UserError(f"{path} varies in two ways at once")
        found[path] = listed
    return found


def _listed(name: str, values: Any) -> list[Any]:
    """The values of an option as Python's own. Raises UserError for what is no list of them."""
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise UserError(f"{name} varies over a list of values, not over {values!r}")
    listed = [value.item() if isinstance(value, np.generic) else value for value in values]
    if not listed:
        raise UserError(f"{name} varies over no value")
    return listed
