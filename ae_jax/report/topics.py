"""Figures of topics: their words, what they are worth, and documents by topic."""

from collections.abc import Mapping, Sequence

import numpy as np

from ae_jax.report.drawing import legend_below
from ae_jax.report.style import CYCLE, MARKERS, Figure, class_colors, style


@style()
def word_heat_map(
    weights: np.ndarray, words: Sequence[str], topics: Sequence[str], label: str
) -> Figure:
    """Weights [K, W] of words (columns) in topics (rows), on one scale of `label` from 0 on."""
    figure = Figure((8.6, 0.24 * len(topics) + 1.7), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(weights, cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    axes.grid(False)
    axes.set_xticks(np.arange(len(words)), words, rotation=90, fontsize=7)
    axes.set_yticks(np.arange(len(topics)), topics, fontsize=8)
    axes.tick_params(length=0)
    bar = figure.colorbar(picture, ax=axes, pad=0.01, fraction=0.03)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure


@style()
def coherence_against_diversity(
    points: Mapping[str, tuple[np.ndarray, np.ndarray]], rule: str
) -> Figure:
    """For each model its diversities and coherences [S], one point a seed; up and right is better.

    `rule` says what the coherence is.
    """
    figure = Figure((6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, (diversities, coherences)) in enumerate(points.items()):
        axes.scatter(
            diversities, coherences, s=42, color=CYCLE[place % len(CYCLE)],
            marker=MARKERS[place % len(MARKERS)], linewidths=0, alpha=0.85, label=name,
        )  # fmt: skip
    axes.set(xlabel="topic diversity (share of different words)", ylabel="topic coherence (NPMI)")
    axes.set_title(rule)
    axes.margins(0.08)
    legend_below(figure)
    return figure


@style()
def documents_by_topic(
    places: np.ndarray, topics: np.ndarray, names: Mapping[int, str], axis_label: str
) -> Figure:
    """Documents in the plane, [N, 2], coloured by the topic [N] where it is one of `names`.

    The others are grey.
    """
    figure = Figure((7.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    dots = {"s": 9, "linewidths": 0, "rasterized": True}
    others = ~np.isin(topics, list(names))
    axes.scatter(*places[others].T, color="0.8", label="others", zorder=1, **dots)
    for (topic, name), color in zip(names.items(), class_colors(len(names)), strict=True):
        axes.scatter(*places[topics == topic].T, color=color, label=name, zorder=2, **dots)
    axes.set(xlabel=f"{axis_label} 1", ylabel=f"{axis_label} 2")
    axes.set_aspect("equal", adjustable="datalim")
    legend = figure.legend(loc="outside right upper", title="largest topic")
    for handle in legend.legend_handles:
        handle.set_sizes([36])
    return figure
