"""Grids of runs: stacked into one program against one after another, by the number of runs."""

from collections.abc import Callable

from experiments.benchmarks.contender import measure
from experiments.benchmarks.report import Results
from experiments.benchmarks.workload import Workload

FIGURE_RUNS, FIGURE_SAMPLES = 75, 1e8
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
        for name, stack in (("stacked", "always"), ("in turn", "never")):
            if not on_cpu and stack == "never" and count > 4:
                continue  # in turn, twice the runs take twice the time
            say(f"{count} runs, {name}")
            seconds = measure("grid_contenders:members", workload, count=count, stack=stack)
            steps = count * workload.examples / workload.batch_size / seconds["epoch"]
            rates[name, count] = steps
            row |= {f"steps a second, {name}": round(steps), f"MiB, {name}": seconds["peak_mib"]}
        table.append(row)
    last = max(counts)
    facts = {
        f"{FIGURE_RUNS} runs of {FIGURE_SAMPLES:.0e} samples, stacked (estimated hours)": round(
            FIGURE_RUNS * FIGURE_SAMPLES / workload.batch_size / rates["stacked", last] / 3600, 2
        )
    }
    pays = rates["stacked", last] / rates.get(("in turn", last), rates["in turn", min(4, last)])
    facts[f"stacked / in turn at {last} runs"] = round(pays, 2)
    choice = pays if not on_cpu else 1 / pays
    return Results(
        tables={"Steps a second of all runs together": table},
        claims=[("what `auto` chooses on this device / the other way", choice, 1.0)],
        facts=facts,
        note=(
            "The runs of Fig. 2 of Kingma & Welling 2014 (latent sizes 3, 5, 10, 20, 200 padded to "
            f"200, steps 0.01, 0.02, 0.1, five seeds): {workload.examples:,} MNIST digits, "
            f"{workload.hidden} tanh, batch {workload.batch_size}, Adagrad. Each measurement in a "
            "process of its own, the mean epoch after the first."
        ),
    )
