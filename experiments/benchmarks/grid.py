"""Grids of runs: stacked into one program against one after another, by the number of runs."""

from collections.abc import Callable, Sequence
from statistics import geometric_mean, median

from ae_jax.train.devices import CPU_FULL_STEP
from experiments.benchmarks.contender import measure
from experiments.benchmarks.grid_contenders import LATENT_SIZES
from experiments.benchmarks.report import Results
from experiments.benchmarks.workload import Workload

FIGURE_RUNS, FIGURE_SAMPLES = 75, 1e8
WAYS = {"stacked": "always", "in turn": "never"}
# Hidden units, size of the code, batch size: from hardly any arithmetic to that of the figure.
NETWORKS = ((16, 2, 100), (50, 10, 20), (100, 10, 20), (100, 10, 100), (500, 20, 100))
RUNS, ROUNDS, FEW = 8, 3, 10_000
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
    table, rates = [], {}
    for count in counts:
        row = {"runs": count}
        for name, stack in WAYS.items():
            if not on_cpu and stack == "never" and count > 4:
                continue  # in turn, twice the runs take twice the time
            say(f"{count} runs, {name}")
            rates[name, count], used = _rate(workload, count, stack)
            row |= {f"steps a second, {name}": round(rates[name, count]), f"MiB, {name}": used}
        table.append(row)
    last = max(counts)
    facts = {
        f"{FIGURE_RUNS} runs of {FIGURE_SAMPLES:.0e} samples, stacked (estimated hours)": round(
            FIGURE_RUNS * FIGURE_SAMPLES / workload.batch_size / rates["stacked", last] / 3600, 2
        )
    }
    pays = rates["stacked", last] / rates.get(("in turn", last), rates["in turn", min(4, last)])
    facts[f"stacked / in turn at {last} runs"] = round(pays, 2)
    choice = pays if _stacks(workload, on_cpu) else 1 / pays
    networks, choices = _by_network(preset, on_cpu, say)
    return Results(
        tables={
            "Steps a second of all runs together": table,
            "Steps a second of eight runs of other networks": networks,
        },
        claims=[
            ("what `auto` chooses on this device / the other way", choice, 1.0),
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


def _by_network(
    preset: str, on_cpu: bool, say: Callable[[str], None]
) -> tuple[list[dict], list[float]]:
    """A row for each network, and how much faster than the other way is what `auto` chooses."""
    table, choices = [], []
    for hidden, code, batch in NETWORKS[:1] if preset == "smoke" else NETWORKS:
        workload = Workload(hidden, code, batch, epochs=5, examples=FEW)
        say(f"{RUNS} runs of 784-{hidden}-{code}")
        rounds = [
            {name: _rate(workload, RUNS, stack, (code,))[0] for name, stack in WAYS.items()}
            for _ in range(_rounds(preset))
        ]
        pays = median(rates["stacked"] / rates["in turn"] for rates in rounds)
        stacks = _stacks(workload, on_cpu)
        choices.append(pays if stacks else 1 / pays)
        table.append(
            {
                "network": f"784-{hidden}-{code}-{hidden}-784",
                "batch size": batch,
                "MFLOP a step": round(workload.step_flops() / 1e6, 1),
                **{name: round(median(rates[name] for rates in rounds)) for name in WAYS},
                "stacked / in turn": round(pays, 2),
                "`auto`": "stacked" if stacks else "in turn",
            }
        )
    return table, choices


def _rounds(preset: str) -> int:
    return 1 if preset == "smoke" else ROUNDS


def _stacks(workload: Workload, on_cpu: bool) -> bool:
    """What `auto` chooses; asked without JAX, which would take the memory of an accelerator."""
    return not on_cpu or workload.step_flops() < CPU_FULL_STEP


def _rate(
    workload: Workload, count: int, stack: str, sizes: Sequence[int] = LATENT_SIZES
) -> tuple[float, int]:
    """Steps a second of so many runs together, and the most memory, MiB."""
    options = {"count": count, "stack": stack, "sizes": sizes}
    took = measure("grid_contenders:members", workload, **options)
    return count * workload.examples / workload.batch_size / took["epoch"], took["peak_mib"]
