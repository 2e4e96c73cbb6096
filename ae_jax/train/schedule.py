"""When a run looks at itself."""

import math

from ae_jax.train.config import RunConfig


def look_epochs(config: RunConfig) -> list[int]:
    """Epochs after which the run evaluates and saves, ascending; the last one is always there.

    With `eval.per_decade`, looks are spaced at equal ratios, as a logarithmic axis wants them.
    """
    epochs, looks = config.train.epochs, config.eval
    if looks.per_decade is None:
        chosen = set(range(looks.every, epochs + 1, looks.every))
    else:
        rounds = math.ceil(looks.per_decade * math.log10(epochs)) if epochs > 1 else 0
        chosen = {round(10 ** (i / looks.per_decade)) for i in range(rounds + 1)}
    return sorted({e for e in chosen if e <= epochs} | {epochs})
