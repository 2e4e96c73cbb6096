"""A configuration by one call, and the sentence that says what was done, made from it."""

from collections.abc import Container, Mapping, Sequence
from typing import Any, cast

from ae_jax.api import Fitted, configure
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet
from ae_jax.lab.sweeps import Sweep
from ae_jax.objectives import Objective, Reconstruction
from ae_jax.train.config import AnyConfig, DataConfig, RunConfig, to_dict
from ae_jax.train.optimisers import Optimiser
from ae_jax.train.over import OF_THE_DATA

_SECTIONS = {"objective": "objective", "optim": "optimiser"}


def network(dataset: DataSet, preprocess: str = "auto", **options: Any) -> RunConfig:
    """The configuration of a network on a data set, its options named as `ae_jax.fit` names them.

    network(load("mnist"), objective="elbo", latent_dim=20, hidden=(500,), epochs=100, beta=4)

    An objective or optimiser is a name, or one that was made: `optimiser=Adagrad(burn_in=100)`.
    Raises UserError.
    """
    if any(name == "codec" or name.startswith("codec__") for name in options):
        raise UserError("a network is trained; a codec is fitted by Lab.fit")
    if not isinstance(dataset, DataSet):
        raise UserError(
            f"a network is for a data set, as ae_jax.data.load gives it: not {dataset!r}"
        )
    made: dict[str, Any] = {
        section: options.pop(called)
        for section, called, kind in (
            ("objective", "objective", Objective),
            ("optim", "optimiser", Optimiser),
        )
        if isinstance(options.get(called), kind)
    }
    twice = [section for section in made if f"{section}__name" in options]
    if twice:
        raise UserError(f"{twice[0]} is given twice: as one that was made, and by its name")
    if preprocess != "auto" and "data__preprocess" in options:
        raise UserError("preprocess is given twice")
    base = RunConfig(data=DataConfig.of(dataset, preprocess), **made)
    config = cast(RunConfig, configure(base, options))
    for path in OF_THE_DATA:
        section, _, option = path.partition(".")
        if getattr(config.data, option) != getattr(base.data, option):
            raise UserError(f"{path} is settled where the data set is loaded: ae_jax.data.load")
    return config


def autoencoder(
    dataset: DataSet, preprocess: str = "auto", *, epochs: int, **options: Any
) -> RunConfig:
    """As `network`, by default with a deterministic code, trained on the reconstruction error.

    By Adam with a cosine schedule, whose last look is its only one.
    """
    usual = {"objective": Reconstruction(), "latent": "deterministic", "schedule": "cosine"}
    if "objective__name" in options:
        del usual["objective"]
    return network(dataset, preprocess, **usual | {"every": epochs} | options, epochs=epochs)


def protocol(of: Fitted | Sweep) -> str:
    """One sentence: data, split, preprocessing, network, objective, optimiser, length and seeds.

    What varies over a sweep is named with its values, in place of those of its first model. Raises
    UserError for a sweep of which nothing is left.
    """
    if isinstance(of, Fitted):
        return _sentence(of, ())
    models = list(of.fitted.values())
    if not models:
        raise UserError("there is no protocol of no models: all of them diverged")
    seeds = max(len(own) for own in of.models.values())
    over = [f"{name} {_listed(values)}" for name, values in of.varied().items()]
    counted = [f"{seeds} seeds each"] if seeds > 1 else []
    lost = seeds * len(of.settings) - len(models)
    counted += [f"{_counted(lost, 'run')} diverged"] if lost else []
    varied = {path for setting in of.settings.values() for path in setting}
    return "; ".join([_sentence(models[0], varied), *over, *counted])


def _sentence(model: Fitted, varied: Container[str]) -> str:
    """What was done; options whose paths are `varied` are said to be."""
    config, dataset = model.config, model.setup.dataset
    values = to_dict(config)
    inputs = "preprocessing varied" if "data.preprocess" in varied else config.data.preprocess
    parts = [
        f"{dataset.name}, {len(dataset.splits['train']):,} training examples of "
        f"{'x'.join(map(str, dataset.shape))}, {inputs}",
        _form(config, varied),
    ]
    for section, called in _SECTIONS.items():
        if f"{section}.name" in varied:
            parts.append(f"{called} varied")
        elif section in values:
            parts.append(_named(section, getattr(config, section), values[section], varied))
    if isinstance(config, RunConfig):
        train = config.train
        epochs = "epochs varied" if "train.epochs" in varied else _counted(train.epochs, "epoch")
        size = "a varied size" if "train.batch_size" in varied else str(train.batch_size)
        parts.append(f"{epochs} in batches of {size}")
    return ", ".join(parts)


def _form(config: AnyConfig, varied: Container[str]) -> str:
    """The form of a model; the sizes that vary are letters."""
    names = ("name", "hidden", "latent_dim", "latent", "head")
    if not isinstance(config, RunConfig) or not any(f"model.{name}" in varied for name in names):
        return config.form()

    def said(name: str, otherwise: str) -> str:
        return otherwise if f"model.{name}" in varied else str(getattr(config.model, name))

    hidden = ["H"] if "model.hidden" in varied else map(str, config.model.hidden)
    sizes = "-".join([*hidden, said("latent_dim", "Z")])
    kinds = f"{said('latent', 'varied')} code, {said('head', 'varied')} head"
    return f"{said('name', 'varied model')} {sizes}, {kinds}"


def _named(section: str, part: Any, values: Mapping[str, Any], varied: Container[str]) -> str:
    """The name of an objective or optimiser with the options that are not at their defaults."""
    default = type(part)()
    own = [
        f"{name.replace('_', ' ')} {_cell(values[name])}"
        for name in values
        if name not in {"name", "num_examples"}
        and f"{section}.{name}" not in varied
        and (name == "learning_rate" or getattr(part, name) != getattr(default, name))
    ]
    name = values["name"].rpartition(":")[2]
    return f"{name} ({', '.join(own)})" if own else name


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(_cell, values))


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(_cell, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
