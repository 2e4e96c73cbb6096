"""The runs of the latent-size grid: what the paper does on a data set, and their configurations."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ae_jax.cli import launch
from ae_jax.cli.launch import Launcher, plan
from ae_jax.data import DataSet
from ae_jax.lab import Member, network
from ae_jax.objectives import Elbo, WakeSleep
from ae_jax.train.optimisers import Adagrad
from experiments.kingma_welling_grid import Curves, Finding, Grid, most_epochs, search

Trials = tuple[tuple[float, int], ...]
INIT_SCALE = 0.01
# Batches over which Adagrad only collects squared gradients.
BURN_IN = 100
# The MAP term is of all parameters: with wake-sleep, of those of both phases.
OBJECTIVES = {
    "aevb": Elbo(parameter_prior="normal"),
    "wake_sleep": WakeSleep(parameter_prior="normal"),
}


@dataclasses.dataclass(frozen=True)
class WakeSleepRuns:
    """How far wake-sleep goes: fields as of `Preset`; `further` has the samples of some sizes."""

    samples: float
    trials: Trials
    further: Mapping[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    samples     of each run that is finished
    trials      rounds of (samples, step sizes kept): all start, and after so many samples those
                with the best training bounds go on; the last round keeps one
    wake_sleep  the same of wake-sleep, which has one seed
    also        other standard deviations of the initial weights, tried in the first round
    seeds       the chosen settings are run with each; trials use the first
    follow      run the setting that tracks the paper's curve best to the end as well
    tolerance   nats by which a test bound may be below the paper's
    spread_of   the preset of several seeds whose committed results say what a run deviates over
                them; twice that is allowed for beside the tolerance
    """

    dataset: str
    samples: float
    trials: Trials
    wake_sleep: WakeSleepRuns
    also: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0,)
    follow: bool = False
    tolerance: float = 1.0
    spread_of: str | None = None
    steps: tuple[float, ...] = (0.01, 0.02, 0.1)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What the paper does on a data set; `curve_sizes` are those of Fig. 2.

    `claimed` says whether bounds are held against the paper's. For Frey Face they are shown
    beside them only: the paper names no split, and neighbouring frames are nearly equal.
    """

    hidden: int
    head: str
    curve_sizes: tuple[int, ...]
    picture_sizes: tuple[int, ...]
    description: str
    claimed: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(sorted({*self.curve_sizes, *self.picture_sizes}))

    @property
    def wake_sleep_sizes(self) -> tuple[int, ...]:
        """Those of the paper's curves, or all where it has none."""
        return self.curve_sizes or self.sizes


PROTOCOLS = {
    "mnist": Protocol(
        500,
        "bernoulli",
        (3, 5, 10, 20, 200),
        (2, 5, 10, 20),
        "MNIST, grey targets in [0, 1], Bernoulli, 784-500-z-500-784 tanh, 50,000 training digits",
        claimed=True,
    ),
    "frey_face": Protocol(
        200,
        "gaussian_sigmoid",
        (2, 5, 10, 20),
        (2, 5, 10, 20),
        "Frey Face, grey, Gaussian with mean in (0, 1), 200 tanh",
    ),
    "digits": Protocol(50, "bernoulli", (), (2, 5), "8x8 digits, grey, Bernoulli, 50 tanh"),
}


def member(
    protocol: Protocol,
    dataset: DataSet,
    samples: float,
    size: int,
    scale: float,
    step: float,
    seed: int,
    method: str = "aevb",
) -> Member:
    """One run of a method: a latent size, an initial scale, a step size and a seed."""
    config = network(
        dataset,
        "grey",
        objective=OBJECTIVES[method],
        optimiser=Adagrad(learning_rate=step, burn_in=BURN_IN),
        hidden=(protocol.hidden,),
        latent_dim=size,
        head=protocol.head,
        init="normal",
        init_scale=scale,
        epochs=_epochs(samples, dataset),
        seed=seed,
        per_decade=10,
    )
    folder = "" if method == "aevb" else f"{method}/"
    return Member(f"{folder}nz={size}/std={scale:g},step={step:g},seed={seed}", config)


def _epochs(samples: float, dataset: DataSet) -> int:
    return math.ceil(samples / len(dataset.splits["train"]))


def grids_of(
    preset: Preset, protocol: Protocol, data: DataSet, root: Path, where: Launcher
) -> dict[str, Grid]:
    """The settings of a preset by method, to be searched and trained below `root`."""

    def grid(method: str, trials: Trials, samples: Mapping[int, float], **own: Any) -> Grid:
        def of_method(size: int, scale: float, step: float, seed: int) -> Member:
            return member(protocol, data, samples[size], size, scale, step, seed, method)

        rounds = tuple((_epochs(count, data), kept) for count, kept in trials)
        settings = tuple((INIT_SCALE, step) for step in preset.steps)
        return Grid(data, root, of_method, rounds, settings, launcher=where, method=method, **own)

    also = tuple((scale, step) for scale in preset.also for step in preset.steps)
    asleep, sizes = preset.wake_sleep, protocol.sizes
    aevb = grid(
        "aevb", preset.trials, dict.fromkeys(sizes, preset.samples), seeds=preset.seeds, also=also
    )
    further = dict.fromkeys(sizes, asleep.samples) | dict(asleep.further)
    beside = grid("wake_sleep", asleep.trials, further, seeds=preset.seeds[:1])
    return {each.method: each for each in (aevb, beside)}


def sizes_of(protocol: Protocol) -> dict[str, tuple[int, ...]]:
    """The latent sizes of each method."""
    return {"aevb": protocol.sizes, "wake_sleep": protocol.wake_sleep_sizes}


def search_all(
    grids: Mapping[str, Grid], protocol: Protocol, paper: Curves, follow: bool
) -> list[Finding]:
    """What the search finds of each method and size; only settings of AEVB are followed."""
    sizes = sizes_of(protocol)
    return [
        finding
        for method, grid in grids.items()
        for finding in search(grid, sizes[method], paper, follow and method == "aevb")
    ]


def show_plan(grids: Mapping[str, Grid], protocol: Protocol, paper: Curves, follow: bool) -> None:
    """Prints what a search would train next and at most, and how long that takes."""

    def planned(launcher: launch.Launcher) -> None:
        planning = {m: dataclasses.replace(g, launcher=launcher) for m, g in grids.items()}
        search_all(planning, protocol, paper, follow)

    members, runs, epochs = [], 0, 0
    for method, sizes in sizes_of(protocol).items():
        grid, followed = grids[method], follow and method == "aevb"
        members += [
            grid.member(size, *setting, seed)
            for size in sizes
            for setting in (*grid.settings, *grid.also)
            for seed in grid.seeds
        ]
        most = most_epochs(grid, sizes, len(protocol.curve_sizes), followed)
        runs, epochs = runs + most[0], epochs + most[1]
    first = grids["aevb"]
    whole = runs, launch.goal(members[0], first.dataset, epochs)
    plan.show(plan.next_runs(planned), first.root, first.launcher, whole=whole, members=members)


def note(preset: Preset) -> str:
    """How settings were chosen and what the numbers are, for the table."""
    others = "".join(
        f" A standard deviation of {scale:g} was tried beside it, to be compared with the paper's "
        "curves: it is not among those that go on."
        for scale in preset.also
    )
    steps = ", ".join(f"{step:g}" for step in preset.steps)
    seeds = f" Bounds of AEVB are means over {len(preset.seeds)} seeds." if preset.seeds[1:] else ""
    return (
        f"Initial weights of standard deviation {INIT_SCALE:g}, Adagrad with {BURN_IN} batches of "
        f"burn-in and step sizes {steps}; by training bound, {_rounds(preset.trials)} training "
        f"samples, of wake-sleep {_rounds(preset.wake_sleep.trials)}.{others} Nats per example, "
        "one sample an example: train on the first 10,000 training examples, test on the test "
        f"split, whose examples the standard error is over.{seeds}"
    )


def _rounds(trials: Trials) -> str:
    return ", then ".join(
        f"the best {kept} went on after {samples:.2g}" for samples, kept in trials
    )
