"""A fitted model in a few lines: what an interactive session prints of it."""

import math
from typing import Any

import jax

from ae_jax.train.config import CodecConfig, to_dict
from ae_jax.train.loop import is_look


def described(model: Any) -> str:
    """The model, the data, the training and the last evaluation, a line each."""
    return "\n  ".join(line for line in (_what(model), *_lines(model)) if line)


def _what(model: Any) -> str:
    config, data = model.config, model.setup.dataset
    names = to_dict(config)
    shape = "x".join(map(str, data.shape))
    if isinstance(config, CodecConfig):
        kind = f"{names['codec']['name']}, {model.setup.latent_dim} atoms"
    else:
        sizes = "-".join(map(str, (*config.model.hidden, config.model.latent_dim)))
        kind = f"{config.model.name} {sizes}, {config.model.latent} code, {config.model.head} head"
    return f"Fitted {kind}; {data.name}, examples of {shape}"


def _lines(model: Any) -> list[str]:
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model.params))
    lines = [f"{count:,} parameters, preprocessing {model.config.data.preprocess}"]
    if isinstance(model.config, CodecConfig):
        last = model.records[-1] if model.records else {}
        end = "converged" if last.get("converged") else "not converged"
        return [*lines, f"{model.step:,} iterations, {end}"]
    objective, epochs = to_dict(model.config)["objective"]["name"], model.config.train.epochs
    done = model.records[-1]["epoch"] if model.records else 0
    early = ", stopped early" if done < epochs and model.config.train.patience else ""
    lines.append(f"objective {objective}, epoch {done:,} of {epochs:,}{early}")
    looks = [record for record in model.records if is_look(record)]
    headline = model.setup.headline
    if looks:
        values = "  ".join(
            f"{split} {looks[-1][f'{split}/{headline}']:.4g}"
            for split in ("train", "valid", "test")
            if f"{split}/{headline}" in looks[-1]
        )
        lines.append(f"{headline}: {values}")
    return lines
