"""A fitted model in a few lines: what an interactive session prints of it."""

import math
from typing import Any

import jax

from ae_jax.train.records import is_look


def described(model: Any) -> str:
    """The model, the data, the training and the last evaluation, a line each."""
    return "\n  ".join(line for line in (_what(model), *_lines(model)) if line)


def _what(model: Any) -> str:
    data = model.setup.dataset
    shape = "x".join(map(str, data.shape))
    return f"Fitted {model.config.form()}; {data.name}, examples of {shape}"


def _lines(model: Any) -> list[str]:
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model.params))
    lines = [
        f"{count:,} parameters, preprocessing {model.config.data.preprocess}",
        model.config.progress(model.reached, model.step),
    ]
    looks = [record for record in model.reached if is_look(record)]
    headline = model.setup.headline
    if looks:
        values = "  ".join(
            f"{split} {looks[-1][f'{split}/{headline}']:.4g}"
            for split in ("train", "valid", "test")
            if f"{split}/{headline}" in looks[-1]
        )
        lines.append(f"{headline}: {values}")
    return lines
