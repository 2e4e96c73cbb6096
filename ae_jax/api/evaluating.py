"""What evaluators say of a split, beside the metrics of the objective."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.eval import EVALUATORS, EvaluationData, Evaluator
from ae_jax.numerics.noise import stream_key
from ae_jax.train.codec_fit import CodecSetup
from ae_jax.train.setup import Setup

_ROWS = 4096  # examples that are looked at together


def evaluated(
    setup: Setup | CodecSetup,
    variables: Mapping[str, Any],
    data: EvaluationData,
    evaluators: Sequence[str | Evaluator],
    metrics: Mapping[str, float],
) -> dict[str, float]:
    """`metrics`, the squared error, and what the evaluators say of `data`, by name.

    A value whose name is taken has that of its evaluator before it, as `bound/elbo`; where that is
    taken too, with the options of the evaluator, or a number.
    """
    results = dict(metrics)
    seed = jnp.asarray(setup.config.train.seed, jnp.uint32)
    for given in ("squared_error", *evaluators):
        key = stream_key(seed, "evaluation")
        values = _evaluator(given)(setup.architecture.model, variables, data, key)
        taken = set(results)
        for metric, value in values.items():
            # A value and its standard error, which may have no counterpart, go together.
            free = (
                name
                for name in _names_for(metric, given)
                if taken.isdisjoint((name, name.removesuffix("_se"), f"{name}_se"))
            )
            results[next(free)] = value
    return results


def _names_for(metric: str, given: str | Evaluator) -> Iterator[str]:
    """What a value may be called, the plainest first."""
    name = _name_of(given).rpartition(":")[2]
    yield metric
    yield f"{name}/{metric}"
    if dataclasses.is_dataclass(given):
        own = [(f.name, getattr(given, f.name), f.default) for f in dataclasses.fields(given)]
        plain = [one for one in own if isinstance(one[1], int | float | str)]
        changed = [f"{option}={value}" for option, value, default in plain if value != default]
        yield f"{name}({', '.join(changed)})/{metric}"
    yield from (f"{name} {count}/{metric}" for count in itertools.count(2))


def refuse_evaluators(
    setup: Setup | CodecSetup, split: str, evaluators: Sequence[str | Evaluator]
) -> None:
    """Raises UserError for one that is asked twice, and for one that needs all values of an
    example where some are missing."""
    twice = {str(one) for one in evaluators if list(evaluators).count(one) > 1}
    if twice:
        raise UserError(f"the evaluator {min(twice)} is asked twice")
    x = setup.dataset.splits[split].x
    if not takes_missing(setup) or x.dtype.kind != "f":
        return
    # In parts: a split that streams need not fit into memory.
    parts = (x[i : i + _ROWS] for i in range(0, len(x), _ROWS))
    if not any(np.isnan(part).any() for part in parts):
        return
    for given in evaluators:
        if not getattr(_evaluator(given), "accepts_missing", False):
            raise UserError(
                f"the evaluator {_name_of(given)} needs all values of an example, and in the "
                f"{split} split some are missing"
            )


def takes_missing(setup: Setup | CodecSetup) -> bool:
    """Whether NaN stands for a missing value, as it did in training."""
    objective = getattr(setup.config, "objective", None)
    return bool(getattr(objective, "accepts_missing", False))


def _evaluator(given: str | Evaluator) -> Any:
    return EVALUATORS.get(given) if isinstance(given, str) else given


def _name_of(given: str | Evaluator) -> str:
    if isinstance(given, str):
        return given
    return getattr(given, "__name__", type(given).__name__)
