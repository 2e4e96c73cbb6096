"""Grids of runs: stacked into one program against one after another, by the number of runs."""

from collections.abc import Callable, Sequence
from statistics import geometric_mean, median

from experiments.benchmarks.contender import measure
from experiments.benchmarks.grid_contenders import LATENT_SIZES
from experiments.benchmarks.report import Results
from experiments.benchmarks.workload import Workload

FIGURE_RUNS, FIGURE_SAMPLES = 75, 1e8
WAYS = {"stacked": "always", "in turn": "never"}
# Hidden units, size of the code, batch size: from hardly any arithmetic to that of the figure.
NETWORKS = ((16, 2, 100), (50, 10, 20), (100, 10, 20), (100, 10, 100), (500, 20, 100))
RUNS, ROUNDS, FEW = 8, 3, 10_000
IN_TURN = 4  # the most runs that take turns on an accelerator
COUNTS = {
    "smoke": (1, 2),
    "cpu": (1, 2, 4, 8),
    "accelerator": (1, 2, 4, 8, 16, 32, 64, FIGURE_RUNS, 128),
}


def run(preset: str, say: Callable[[str], None]) -> Results:
    """Steps a second against the number of runs, and what the paper's whole figure takes."""
    on_cpu = measure("ours:device", Workload())["kind"] == "cpu"
    workload = Workload(epochs=2, examples=50_000)
    if preset == "smoke":
        counts, workload = COUNTS["smoke"], Workload(epochs=1, examples=2000)
    else:
        counts = COUNTS["cpu" if on_cpu else "accelerator"]
    last = max(counts)
    table, measured = _by_count(workload, counts, on_cpu, say)
    stacked = measured["stacked", last]
    in_turn = measured.get(("in turn", last), measured["in turn", min(IN_TURN, last)])
    pays = stacked["rate"] / in_turn["rate"]
    networks, choices = _by_network(preset, say)
    hours = FIGURE_RUNS * FIGURE_SAMPLES / workload.batch_size / stacked["rate"] / 3600
    facts = {
        f"{FIGURE_RUNS} runs of {FIGURE_SAMPLES:.0e} samples, stacked (estimated hours)": round(
            hours, 2
        ),
        f"stacked / in turn at {last} runs": round(pays, 2),
    }
    return Results(
        tables={
            "Steps a second of all runs together": table,
            f"Steps a second of {RUNS} runs of other networks": networks,
        },
        claims=[
            ("what `auto` chooses on this device / the other way", _chosen(stacked, pays), 1.0),
            ("the same for the other networks, geometric mean", geometric_mean(choices), 1.0),
        ],
        facts=facts,
        note=(
            "The runs of Fig. 2 of Kingma & Welling 2014 (latent sizes 3, 5, 10, 20, 200 padded to "
            f"200, steps 0.01, 0.02, 0.1, five seeds): {workload.examples:,} MNIST digits, "
            f"{workload.hidden} tanh, batch {workload.batch_size}, Adagrad. Each measurement in a "
            "process of its own, the mean epoch after the first. Other networks have codes of one "
            f"size and {FEW:,} digits; rates are medians of {_rounds(preset)} rounds of both ways."
        ),
    )


def _by_count(
    workload: Workload, counts: Sequence[int], on_cpu: bool, say: Callable[[str], None]
) -> tuple[list[dict], dict[tuple[str, int], dict]]:
    """A row for each number of runs, and what was measured for each way and number."""
    table, measured = [], {}
    for count in counts:
        row = {"runs": count}
        for way in WAYS:
            if not on_cpu and way == "in turn" and count > IN_TURN:
                continue  # twice the runs take twice the time
            say(f"{count} runs, {way}")
            measured[way, count] = took = _measured(workload, count, way)
            row |= {f"steps a second, {way}": round(took["rate"]), f"MiB, {way}": took["peak_mib"]}
        table.append(row)
    return table, measured


def _by_network(preset: str, say: Callable[[str], None]) -> tuple[list[dict], list[float]]:
    """A row for each network, and how much faster than the other way is what `auto` chooses."""
    table, choices = [], []
    for hidden, code, batch in NETWORKS[:1] if preset == "smoke" else NETWORKS:
        workload = Workload(hidden, code, batch, epochs=5, examples=FEW)
        name = f"784-{hidden}-{code}-{hidden}-784"
        say(f"{RUNS} runs of {name}, batch {batch}")
        rounds = [
            {way: _measured(workload, RUNS, way, (code,)) for way in WAYS}
            for _ in range(_rounds(preset))
        ]
        pays = median(took["stacked"]["rate"] / took["in turn"]["rate"] for took in rounds)
        found = rounds[0]["stacked"]
        choices.append(_chosen(found, pays))
        table.append(
            {
                "network": name,
                "batch size": batch,
                "MFLOP a step": round(found["step_flops"] / 1e6, 1),
                **{way: round(median(took[way]["rate"] for took in rounds)) for way in WAYS},
                "stacked / in turn": round(pays, 2),
                "`auto`": "stacked" if found["stacks"] else "in turn",
            }
        )
    return table, choices


def _chosen(found: dict, pays: float) -> float:
    """How much faster than the other way is what `auto` chooses, where stacking gains `pays`."""
    return pays if found["stacks"] else 1 / pays


def _rounds(preset: str) -> int:
    return 1 if preset == "smoke" else ROUNDS


def _measured(
    workload: Workload, count: int, way: str, sizes: Sequence[int] = LATENT_SIZES
) -> dict:
    """What `grid_contenders.members` tells of so many runs, with steps a second of all ("rate")."""
    options = {"count": count, "stack": WAYS[way], "sizes": sizes}
    took = measure("grid_contenders:members", workload, **options)
    return took | {"rate": count * workload.examples / workload.batch_size / took["epoch"]}
