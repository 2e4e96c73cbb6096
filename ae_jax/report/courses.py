"""The course of training, from the records of a run: what curves are drawn of."""

from collections.abc import Sequence

import numpy as np

from ae_jax.api import Fitted
from ae_jax.core.errors import UserError
from ae_jax.core.registry import unknown_name
from ae_jax.report.style import display_name
from ae_jax.train.codec_fit import CodecSetup
from ae_jax.train.records import is_look

# Metrics that objectives give in nats per example, beside their headline.
IN_NATS = ("elbo", "kl", "loss", "reconstruction")

Course = tuple[np.ndarray, np.ndarray]


def courses(
    model: Fitted, metric: str | None = None, splits: Sequence[str] | None = None
) -> dict[str, Course]:
    """Of each split the epochs [n] of the looks and a metric [n], by default the headline.

    Of a codec the iterations and its objective over the training examples. Raises UserError for a
    metric that no look has, and for splits that there are not.
    """
    if isinstance(model.setup, CodecSetup):
        if metric not in (None, "objective") or {*(splits or ["train"])} != {"train"}:
            raise UserError("of a codec there is the objective on the training examples only")
        steps = np.array([record["step"] for record in model.records])
        return {"train": (steps, np.array([record["objective"] for record in model.records]))}
    looks = [record for record in model.records if is_look(record)]
    if not looks:
        raise UserError("the run has not looked at itself yet: there is no curve to draw")
    last, metric = looks[-1], metric or model.setup.headline
    known = list(dict.fromkeys(name.partition("/")[0] for name in last if "/" in name))
    known = [split for split in known if split != "running"]
    for split in splits or ():
        if split not in known:
            raise unknown_name("split of the records", split, known)
    names = {name.partition("/")[2] for name in last if not name.startswith("running/")} - {""}
    if metric not in names:
        raise unknown_name("metric of the records", metric, names)
    epochs = np.array([look["epoch"] for look in looks])
    return {
        split: (epochs, np.array([look.get(f"{split}/{metric}", np.nan) for look in looks], float))
        for split in splits or known
    }


def axis_labels(model: Fitted, metric: str | None = None) -> tuple[str, str]:
    """What the abscissa and the ordinate of such curves are called."""
    if isinstance(model.setup, CodecSetup):
        return "iteration", "objective"
    metric = metric or model.setup.headline
    return "epoch", with_unit(metric, model.setup.headline)


def with_unit(metric: str, headline: str) -> str:
    """What a metric is called on an axis: the headline of an objective is in nats per example,
    but for one that is an error."""
    unit = " (nats per example)" if is_in_nats(metric, headline) else ""
    return f"{display_name(metric)}{unit}"


def is_in_nats(metric: str, headline: str) -> bool:
    return metric in IN_NATS or metric == headline and not metric.startswith("squared_error")
