"""A configuration by one call, and the sentence that says what was done, made from it."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ae_jax.api import Fitted, configure
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet
from ae_jax.lab.sweeps import Sweep
from ae_jax.train.config import DataConfig, RunConfig, to_dict

_SECTIONS = ("objective", "optim")


def network(dataset: DataSet, preprocess: str = "auto", **options: Any) -> RunConfig:
    """The configuration of a network on a data set, its options named as `ae_jax.fit` names them.

    network(load("mnist"), objective="elbo", latent_dim=20, hidden=(500,), epochs=100, beta=4)

    Raises UserError.
    """
    if any(name == "codec" or name.startswith("codec__") for name in options):
        raise UserError("a network is trained; a codec is fitted by Lab.fit")
    base = RunConfig(data=DataConfig.of(dataset, preprocess))
    return cast(RunConfig, configure(base, options))


def protocol(of: Fitted | Sweep) -> str:
    """One sentence: data, split, preprocessing, network, objective, optimiser, length and seeds.

    What varies over a sweep is named with its values, in place of those of its first model. Raises
    UserError for a sweep of which nothing is left.
    """
    if isinstance(of, Fitted):
        return _sentence(of, {})
    models = list(of.fitted.values())
    if not models:
        raise UserError("there is no protocol of no models: all of them diverged")
    seeds = max(len(own) for own in of.models.values())
    over = [f"{name} {_listed(values)}" for name, values in of.varied().items()]
    counted = [f"{seeds} seeds each"] if seeds > 1 else []
    varied = dict.fromkeys(of.varied(), "varied")
    return "; ".join([_sentence(models[0], varied), *over, *counted])


def _sentence(model: Fitted, varied: Mapping[str, str]) -> str:
    config, dataset = model.config, model.setup.dataset
    values = to_dict(config)
    parts = [
        f"{dataset.name}, {len(dataset.splits['train']):,} training examples of "
        f"{'x'.join(map(str, dataset.shape))}, {config.data.preprocess}",
        _form(model, varied),
    ]
    for section in _SECTIONS:
        if section in values:
            parts.append(_named(section, getattr(config, section), values[section], varied))
    if "epochs" in values["train"]:
        train = values["train"]
        epochs = "epochs varied" if "epochs" in varied else _counted(train["epochs"], "epoch")
        parts.append(f"{epochs} in batches of {train['batch_size']}")
    return ", ".join(parts)


def _form(model: Fitted, varied: Mapping[str, str]) -> str:
    """The form of a model; the sizes that vary are letters."""
    config = model.config
    if isinstance(config, RunConfig) and {"latent_dim", "hidden"} & {*varied}:
        hidden = ("H",) if "hidden" in varied else config.model.hidden
        size = "Z" if "latent_dim" in varied else config.latent_dim
        sizes = "-".join(map(str, (*hidden, size)))
        model_config = config.model
        return f"{model_config.name} {sizes}, {model_config.latent} code, {model_config.head} head"
    return config.form()


def _named(section: str, part: Any, values: Mapping[str, Any], varied: Mapping[str, str]) -> str:
    """The name of an objective or optimiser with the options that are not at their defaults."""
    default = type(part)()
    own = [
        f"{name.replace('_', ' ')} {_cell(values[name])}"
        for name in values
        if name not in {"name", "num_examples", *varied}
        and getattr(part, name) != getattr(default, name)
    ]
    if section == "optim" and "learning_rate" in values and "learning_rate" not in varied:
        rate = f"learning rate {values['learning_rate']:g}"
        own = [rate, *(one for one in own if not one.startswith("learning rate"))]
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
