"""The training step: this library against other code for the same arithmetic, and its curves."""

import dataclasses
import statistics
from collections.abc import Callable

from experiments.benchmarks.contender import measure
from experiments.benchmarks.report import Results, share
from experiments.benchmarks.workload import Workload

CONTENDERS = {
    "ae_jax": "jax_contenders:library",
    "bare scan": "jax_contenders:bare_scan",
    "one jitted step a batch": "jax_contenders:tutorial_loop",
    "PyTorch": "torch_contenders:eager",
    "PyTorch, compiled": "torch_contenders:compiled",
    "pythae": "torch_contenders:pythae",
}
ROUNDS = {"smoke": 1, "standard": 3}
BATCH_SIZES = (20, 50, 100, 250, 1000, 4096)
HIDDEN_SIZES = (200, 500, 1000, 2000)


def run(preset: str, say: Callable[[str], None]) -> Results:
    """Measures everything; contenders take turns, so that a slow minute of the machine hits all."""
    workload = Workload() if preset == "standard" else Workload(epochs=1, examples=5000)
    measured: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
    rates = []
    for turn in range(ROUNDS[preset]):
        for name, function in CONTENDERS.items():
            say(f"{name}, round {turn + 1}")
            measured[name].append(measure(function, workload))
        rates.append(measure("jax_contenders:matrix_product", workload)["rate"])
    seconds = {name: _median(results) for name, results in measured.items()}
    rate = statistics.median(rates)
    say("binarisation, optimisers and curves")
    variants = {
        "dynamic binarisation": _median(
            [measure("jax_contenders:library", workload, preprocess="dynamic_binarization")]
        ),
        "bare scan with SGD": _median(
            [measure("jax_contenders:bare_scan", workload, optimiser="sgd")]
        ),
    }
    ours = seconds["ae_jax"]
    table = [
        {
            "contender": name,
            "seconds an epoch": round(value, 3),
            "examples a second": f"{workload.examples / value:,.0f}",
            "time / ae_jax": round(value / ours, 2),
            "share of the matrix-product rate": share(workload.flops() / value / 1e9 / rate),
            "peak memory (MiB)": round(measured[name][-1]["peak_mib"]),
        }
        for name, value in seconds.items()
    ]
    claims = [
        ("within 3 % of the bare scan: bare scan / ae_jax", seconds["bare scan"] / ours, 1 / 1.03),
        ("share of the matrix-product rate", workload.flops() / ours / 1e9 / rate, 0.75),
        ("PyTorch / ae_jax", seconds["PyTorch"] / ours, 1.45),
        ("pythae / ae_jax", seconds["pythae"] / ours, 2.5),
        ("plain / dynamically binarised", ours / variants["dynamic binarisation"], 1 / 1.15),
    ]
    return Results(
        tables={"Seconds an epoch": table, **_curves(preset, workload, rate)},
        claims=claims,
        facts={"matrix-product rate (GFLOP/s)": round(rate, 1), **_rounded(variants)},
        note=(
            f"{workload.examples:,} MNIST digits, 784-{workload.hidden}-{workload.latent_dim}-"
            f"{workload.hidden}-784 tanh, batch {workload.batch_size}, Adagrad, MAP. Each "
            f"contender in a process of its own, medians of {workload.epochs} "
            f"epochs in {ROUNDS[preset]} rounds in turn, without the first epoch. Only the matrix "
            "products that are needed count for the rate."
        ),
    )


def _curves(preset: str, workload: Workload, rate: float) -> dict[str, list[dict]]:
    """How the library's rate depends on the batch and on the width."""
    short = dataclasses.replace(workload, epochs=2 if preset == "standard" else 1)
    batches = BATCH_SIZES if preset == "standard" else BATCH_SIZES[2:4]
    widths = HIDDEN_SIZES if preset == "standard" else HIDDEN_SIZES[:1]

    def row(label: str, value: int, changed: Workload) -> dict:
        seconds = _median([measure("jax_contenders:library", changed)])
        return {
            label: value,
            "seconds an epoch": round(seconds, 3),
            "share of the matrix-product rate": share(changed.flops() / seconds / 1e9 / rate),
        }

    return {
        "By batch size": [
            row("batch size", size, dataclasses.replace(short, batch_size=size)) for size in batches
        ],
        "By hidden size": [
            row("hidden units", size, dataclasses.replace(short, hidden=size)) for size in widths
        ],
    }


def _median(results: list[dict]) -> float:
    return statistics.median(second for result in results for second in result["seconds"])


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {f"{name} (seconds an epoch)": round(value, 3) for name, value in values.items()}
