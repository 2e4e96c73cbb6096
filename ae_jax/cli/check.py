"""`ae-jax check`: whether a part of one's own fits in, told in sentences.

What the library's own tests ask of every registered part is asked here of one, of any kind, on a
small made-up data set: that it is declared as it should be, that it traces, that its gradients are
finite, that noise belongs to examples, that a run with it is the same on one device and on eight,
alone and stacked with others, with a code that is padded, and after it was saved and read back.
"""

import dataclasses
import inspect
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.core.registry import Registry
from ae_jax.data import DataSet
from ae_jax.data.base import Split
from ae_jax.models import BoundModel, draw
from ae_jax.models.build import FILLED_IN, part_class
from ae_jax.objectives import Objective
from ae_jax.train import loop
from ae_jax.train.config import RunConfig, from_dict, override
from ae_jax.train.optimisers import Optimiser
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup
from ae_jax.train.step import evaluate_objective

EXAMPLES, SIDE, CLASSES, BATCH, CODE = 48, 6, 3, 16, 3
DEVICES = 8
Mode = Literal["sharded", "shard_map", "pmap"]
MODES: tuple[Mode, ...] = get_args(Mode)
# Rounding of sums that are taken in another order; SGD hides no scale.
TOLERANCE = 2e-5
PARTS = tuple(FILLED_IN)

ANY: Registry[Any] = Registry("part", {})
_BASES: dict[str, tuple[type, str]] = {
    "objective": (Objective, "ae_jax.objectives.Objective"),
    "optimiser": (Optimiser, "ae_jax.train.optimisers.Optimiser"),
}


class Failed(Exception):
    """A check that a part does not pass; its text is the sentence."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One check: its name, and what is wrong, or None."""

    name: str
    wrong: str | None


def check(reference: str, kind: str | None = None) -> Iterator[Finding]:
    """Every check of a part `path/to/file.py:Name` in turn; later ones need earlier ones.

    Raises UserError for a reference to nothing, or to something of an unknown kind.
    """
    part = ANY.get(reference)
    kind = kind or kind_of(part, reference)
    base_class, said = _BASES.get(kind, (nn.Module, "flax.linen.Module"))
    if not (isinstance(part, type) and issubclass(part, base_class)):
        raise UserError(f"{reference} is no {kind}: it is not derived from {said}")
    yield _finding("declaration", lambda: _check_declaration(part, kind))
    base = {"model": {"hidden": [8], "latent_dim": CODE, "activation": "tanh"}}
    assignments = [*_assignments(reference, part, kind), *_TRAINING]
    state: dict[str, Setup] = {}

    def traced() -> None:
        config = cast(RunConfig, from_dict(override(base, assignments)))
        state["setup"] = prepare_run(config, toy_data(part, kind, config), begins=False)

    first = _finding("traces", traced)
    yield first
    if first.wrong is not None:
        return
    setup = state["setup"]
    yield _finding("finite gradients", lambda: _check_gradients(setup))
    yield _finding("noise belongs to examples", lambda: _check_noise(setup))
    yield _finding("batches of any size", lambda: _check_filling(setup))
    yield _finding("one trace", lambda: _check_one_trace(setup))
    alone = _Baseline(setup)
    for mode in MODES:
        yield _finding(
            f"on {DEVICES} devices ({mode})", partial(_check_devices, setup, alone, mode)
        )
    yield _finding("stacked with others", lambda: _check_stacked(setup, alone))
    if setup.architecture.model.can_pad and setup.config.objective.can_pad:
        yield _finding("padded code", lambda: _check_padded(setup))
    yield _finding("saved and restored", lambda: _check_resume(setup, alone))


_TRAINING = (
    f"train.batch_size={BATCH}",
    "train.epochs=2",
    "optim.name=sgd",
    "optim.learning_rate=0.01",
    "eval.every=2",
)


def kind_of(part: Any, reference: str) -> str:
    """What kind of part it is. Raises UserError where that cannot be told."""
    if isinstance(part, type):
        if issubclass(part, Objective):
            return "objective"
        if issubclass(part, Optimiser):
            return "optimiser"
        if issubclass(part, nn.Module):
            return _role_of(part, reference)
        if any(name in vars(part) for name in ("headline", "needs", "can_pad", "whole_batch")):
            raise UserError(
                f"{reference} looks like an objective and is not derived from "
                "ae_jax.objectives.Objective"
            )
    raise UserError(
        f"{reference} is no objective, optimiser or part of a model (a class derived from "
        "flax.linen.Module)"
    )


def _role_of(part: type, reference: str) -> str:
    """The place of a Linen module in a model, told by what its `__call__` takes."""
    names = [name for name in inspect.signature(part.__call__).parameters if name != "self"]
    fields = {field.name for field in dataclasses.fields(part)}
    first = names[0] if names else ""
    if first == "x":
        return "encoder"
    if first == "z":
        return "decoder"
    if first in ("", "encode", "condition"):
        return "prior"
    if first in ("features", "h"):
        return "head" if "shape" in fields else "latent"
    raise UserError(
        f"{reference}: whether it is an {', '.join(PARTS)} cannot be told from its __call__"
        f"({', '.join(names)}); say so by --as"
    )


def toy_data(part: Any, kind: str, config: RunConfig) -> DataSet:
    """Images of bars with labels and a condition, in the support of the head."""
    support = None
    if kind == "head":
        support = part.support
    elif config.model.head != "auto":
        head: Any = part_class("head", config.model.head)
        support = head.support
    rng = np.random.default_rng(0)
    levels = rng.random((EXAMPLES, SIDE, SIDE, 1)).astype(np.float32)
    labels = np.arange(EXAMPLES, dtype=np.int32) % CLASSES
    for row, label in zip(levels, labels, strict=True):
        row[2 * label : 2 * label + 2] *= 0.2
    if support is not None and support.integer:
        high = 1.0 if support.high == 1 else 4.0
        levels = np.floor(levels * (high + 1)).clip(0, high).astype(np.float32)
    condition = rng.normal(size=(EXAMPLES, 2)).astype(np.float32)
    splits = {"train": Split(levels, labels, condition=condition)}
    return DataSet("bars", splits, None)


def _assignments(reference: str, part: Any, kind: str) -> list[str]:
    """The options that choose the part, and what it needs beside it."""
    if kind == "objective":
        needs = [need for need in part.needs if "=" in need]
        return [f"objective.name={reference}", *needs]
    if kind == "optimiser":
        return [f"optim.name={reference}"]
    chosen = [f"model.{kind}={reference}"]
    takes = inspect.signature(part.__call__).parameters
    if kind == "prior" and "condition" in takes:
        into = '["decoder","prior"]' if "encode" in takes else '["encoder","decoder","prior"]'
        chosen += ["model.condition=label", f"model.into={into}"]
    if kind == "latent":  # whatever it gives: the ELBO needs the pair in closed form
        chosen += ["objective.name=reconstruction"]
    if kind == "prior":
        chosen += ["objective.kl_form=monte_carlo"]
    return chosen


def _finding(name: str, run: Callable[[], None]) -> Finding:
    try:
        run()
    except (Failed, UserError, TrainingDiverged) as error:
        return Finding(name, str(error))
    except Exception as error:  # whatever a user's code raises is what the user wants to hear of
        where = _place_of(error)
        return Finding(name, f"{type(error).__name__}{where}: {str(error).splitlines()[:1]}")
    return Finding(name, None)


def _place_of(error: BaseException) -> str:
    """The last line of a user's file that an error went through."""
    place, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if name.startswith("ae_jax_user_"):
            place = f" in line {trace.tb_lineno} of {Path(trace.tb_frame.f_code.co_filename).name}"
        trace = trace.tb_next
    return place


def _check_declaration(part: type, kind: str) -> None:
    if kind in ("objective", "optimiser"):
        if "__dataclass_params__" not in vars(part):
            raise Failed(
                f"{part.__name__} lacks the decorator @flax.struct.dataclass: its fields would be "
                "no options, and its numbers compiled in"
            )
        method = "__call__" if kind == "objective" else "rule"
        if method not in vars(part) and getattr(part, method) is getattr(
            Objective if kind == "objective" else Optimiser, method
        ):
            raise Failed(f"{part.__name__} does not define {method}")
    if kind == "objective":
        objective: Any = part
        wanted = [
            "model",
            "batch",
            "key",
            "step",
            *(["axis_name"] if objective.whole_batch else []),
        ]
        names = [n for n in inspect.signature(part.__call__).parameters if n != "self"]
        if names[: len(wanted)] != wanted or len(names) > len(wanted):
            raise Failed(
                f"__call__ of {part.__name__} takes ({', '.join(names)}); an objective takes "
                f"({', '.join(wanted)})"
            )
    elif kind in PARTS:
        taken = {"parent", "name", *FILLED_IN[kind]}
        open_fields = [
            field.name
            for field in dataclasses.fields(part)
            if field.name not in taken
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]
        if open_fields:
            raise Failed(
                f"{part.__name__}.{open_fields[0]} has no default: an option of a part needs one"
            )
        if kind == "head" and not hasattr(part, "support"):
            raise Failed(
                f"{part.__name__} does not say its support, an ae_jax.distributions.Support"
            )


def _batch(setup: Setup, rows: int = BATCH) -> dict[str, Any]:
    split: Any = setup.on_device("train")
    ids = jnp.arange(rows)
    batch = {"x": split.x[:rows], "id": ids, "mask": jnp.ones(rows), "y": split.y[:rows]}
    return batch | {"condition": split.condition[:rows]}


def _terms(setup: Setup, params: Any, batch: dict[str, Any], key: Any, train: bool = True) -> Any:
    state = setup.initial_state()
    variables = {"params": params, **state.collections}
    model = BoundModel(setup.architecture.model, variables, key=key, train=train)
    return evaluate_objective(setup.numbers.objective, model, batch, key, state.step)


def _check_gradients(setup: Setup) -> None:
    batch, params = _batch(setup), setup.initial_state().params

    def total(params: Any) -> Any:
        return _terms(setup, params, batch, jax.random.key(0)).total().sum()

    value, gradients = jax.value_and_grad(total)(params)
    if not np.isfinite(value):
        raise Failed(f"the loss at the start is {float(value)}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        if not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise Failed(f"the gradient of {name} is not finite at the start")


def _check_noise(setup: Setup) -> None:
    """The same key gives the same terms, and like examples of other ids get other noise."""
    batch, params = _batch(setup), setup.initial_state().params
    first, again = (_terms(setup, params, batch, jax.random.key(0)).total() for _ in range(2))
    if not np.array_equal(first, again):
        raise Failed("the same key gives other terms the second time: noise has to come from keys")
    alike = {name: jnp.broadcast_to(value[:1], value.shape) for name, value in batch.items()}
    alike |= {"id": batch["id"], "mask": batch["mask"]}
    model = BoundModel(setup.architecture.model, setup.initial_state().variables)
    if not model.encode(alike).is_deterministic:
        z = np.asarray(draw(model, alike, jax.random.key(1), 1).z[0])
        if (z == z[0]).all():
            raise Failed(
                "all examples get the same noise: sample must use one key an example, keys [B]"
            )


def _check_filling(setup: Setup) -> None:
    """Examples with mask 0, which fill up a batch, change nothing for the others."""
    full, params = _batch(setup), setup.initial_state().params
    half, key = BATCH // 2, jax.random.key(0)
    mask = (jnp.arange(BATCH) < half).astype(jnp.float32)
    other = {name: jnp.roll(value, half, axis=0) for name, value in full.items()}
    values = []
    for filling in (full, other):
        batch = {
            name: jnp.concatenate([full[name][:half], filling[name][half:]])
            for name in full
            if name != "mask"
        }
        values.append(np.asarray(_terms(setup, params, batch | {"mask": mask}, key).total())[:half])
    first, second = values
    if not np.allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE):
        raise Failed(
            "what fills up the last batch changes the terms of the others: means over a batch have "
            "to be ae_jax.objectives.batch_mean with its mask"
        )


def _static_numbers(objective: Any) -> list[str]:
    """The fields that hold a float and are compiled in."""
    return [
        field.name
        for field in dataclasses.fields(objective)
        if not field.metadata.get("pytree_node", True)
        and isinstance(getattr(objective, field.name), float)
    ]


def _check_one_trace(setup: Setup) -> None:
    traces = 0
    objective = setup.numbers.objective

    def one(numbers: Any, params: Any, batch: Any, key: Any) -> Any:
        nonlocal traces
        traces += 1
        state = setup.initial_state()
        model = BoundModel(
            setup.architecture.model, {"params": params, **state.collections}, key=key, train=True
        )
        return evaluate_objective(numbers, model, batch, key, state.step).total()

    params, batch = setup.initial_state().params, _batch(setup)
    key = jax.random.key(0)
    for name in _static_numbers(objective):
        try:
            jax.eval_shape(
                lambda value, name=name: one(
                    dataclasses.replace(objective, **{name: value}), params, batch, key
                ),
                jnp.float32(getattr(objective, name)),
            )
        except Exception:  # noqa: S112  # its value decides a shape or a branch, as it may
            continue
        raise Failed(
            f"{name} is a number whose value no shape depends on, and declared static: another one "
            "compiles the program anew; leave pytree_node=False out"
        )
    traces, compiled = 0, jax.jit(one)
    for seed in range(2):
        changed = jax.tree.map(lambda leaf, s=seed: leaf * (1.0 + 0.5 * s), objective)
        compiled(changed, params, batch, jax.random.key(seed))
    if traces > 1:
        raise Failed(
            "another number of the objective compiles the program anew: numbers must be pytree "
            "fields, and what decides branches struct.field(pytree_node=False)"
        )


class _Baseline:
    """The state after the run as it is, on one device and alone: trained once, when asked for."""

    def __init__(self, setup: Setup):
        self._setup = setup

    @cached_property
    def state(self) -> Any:
        return jax.device_get(loop.train(self._setup).state)


def _check_devices(setup: Setup, alone: _Baseline, mode: Mode) -> None:
    if jax.device_count() < DEVICES:
        raise Failed(f"there are {jax.device_count()} devices: JAX_NUM_CPU_DEVICES={DEVICES}")
    train = dataclasses.replace(setup.config.train, parallel=mode)
    spread = prepare_run(
        dataclasses.replace(setup.config, train=train), setup.dataset, begins=False
    )
    _compare(
        alone.state.params,
        loop.train(spread).state.params,
        f"on {DEVICES} devices the update is another than on one: means over the batch need "
        "axis_name (`whole_batch = True`), and noise one key an example",
    )


def _check_stacked(setup: Setup, alone: _Baseline) -> None:
    train = dataclasses.replace(setup.config.train, seed=1)
    other = prepare_run(dataclasses.replace(setup.config, train=train), setup.dataset, begins=False)
    outcome = loop.train_together([loop.Run(setup), loop.Run(other)])[0]
    if isinstance(outcome, TrainingDiverged):
        raise outcome
    _compare(
        alone.state.params,
        outcome.state.params,
        "stacked with another run it trains otherwise",
    )


def _check_padded(setup: Setup) -> None:
    setups = []
    for size in (CODE - 1, CODE + 1):
        model = dataclasses.replace(setup.config.model, latent_dim=size)
        config = dataclasses.replace(setup.config, model=model)
        setups.append(prepare_run(config, setup.dataset, begins=False))
    together = loop.train_together([loop.Run(one) for one in setups])
    for outcome, one in zip(together, setups, strict=True):
        if isinstance(outcome, TrainingDiverged):
            raise outcome
        alone = loop.train(one).state.params
        _compare(
            alone,
            outcome.state.params,
            "with a padded code it trains otherwise: can_pad is declared and does not hold",
        )


def _check_resume(setup: Setup, alone: _Baseline) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder) / "run")
        loop.train(setup, directory, until=1)
        resumed = loop.train(setup, directory).state
    whole = jax.tree.leaves(alone.state)
    for left, right in zip(whole, jax.tree.leaves(resumed), strict=True):
        if not np.array_equal(left, right):
            raise Failed("saved after an epoch and resumed, the run ends with other bits")


def _compare(expected: Any, found: Any, sentence: str) -> None:
    worst = 0.0
    for left, right in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        left, right = np.asarray(left), np.asarray(right)
        worst = max(worst, float(np.max(np.abs(left - right) / (1 + np.abs(left)), initial=0.0)))
    if not worst <= TOLERANCE:
        raise Failed(f"{sentence} (parameters differ by {worst:.1e})")
