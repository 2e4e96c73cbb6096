"""The training step: this library against other code for the same arithmetic, and its curves."""

import dataclasses
from collections.abc import Callable

from experiments.benchmarks.contender import measure
from experiments.benchmarks.report import Results, share
from experiments.benchmarks.workload import Workload

OURS, BINARISED, BARE = "ae_jax", "ae_jax, dynamic binarisation", "bare scan"
CONTENDERS = {
    OURS: ("ours:library", {}),
    BINARISED: ("ours:library", {"preprocess": "dynamic_binarization"}),
    BARE: ("jax_contenders:bare_scan", {}),
    "one jitted step a batch": ("jax_contenders:tutorial_loop", {}),
    "PyTorch": ("torch_contenders:eager", {}),
    "PyTorch, compiled": ("torch_contenders:compiled", {}),
    "pythae": ("torch_contenders:pythae", {}),
}
# What the bare scan leaves out, one more from row to row: what is left in the end are the products.
ABLATIONS = {
    "all": (),
    "gradient descent, not Adagrad": ("adagrad",),
    "and without the MAP term": ("adagrad", "prior"),
    "and without activations: products alone": ("adagrad", "prior", "activations"),
}
ROUNDS = {"smoke": 1, "standard": 3}
BATCH_SIZES = (20, 50, 100, 250, 1000, 4096)
HIDDEN_SIZES = (200, 500, 1000, 2000)
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
CONV_BATCH_SIZES, CONV_EXAMPLES = (100, 1000), 5000


def run(preset: str, say: Callable[[str], None]) -> Results:
    """Measures everything; contenders take turns, so that a slow minute of the machine hits all."""
    workload = Workload() if preset == "standard" else Workload(epochs=1, examples=5000)
    measured, rates = _in_turns(workload, ROUNDS[preset], say)
    rate, peak = (max(each[kind] for each in rates) for kind in ("rate", "peak"))
    seconds = {name: _best(results) for name, results in measured.items()}
    ablated = _ablated(workload, ROUNDS[preset], rate, say)
    say("curves")
    ours, needed = seconds[OURS], workload.flops() / 1e9
    claims = [
        ("within 3 % of the bare scan: bare scan / ae_jax", seconds[BARE] / ours, 1 / 1.03),
        ("share of the matrix-product rate", needed / ours / rate, 0.75),
        ("PyTorch / ae_jax", seconds["PyTorch"] / ours, 1.45),
        ("pythae / ae_jax", seconds["pythae"] / ours, 2.5),
        ("plain / dynamically binarised", ours / seconds[BINARISED], 1 / 1.15),
    ]
    facts = {
        "matrix-product rate (GFLOP/s)": round(rate, 1),
        "rate of the best single product (GFLOP/s)": round(peak, 1),
        "a look at 1,000 training and 10,000 test examples (seconds)": round(
            min(result["look"] for result in measured[OURS]), 3
        ),
    }
    return Results(
        tables={
            "Seconds an epoch": _table(measured, workload, rate),
            "What the bare scan spends its time on": ablated,
            **_curves(preset, workload, rate),
            "By precision of matrix products": _precisions(workload, say),
        },
        claims=claims,
        facts=facts,
        note=(
            f"{workload.examples:,} MNIST digits, 784-{workload.hidden}-{workload.latent_dim}-"
            f"{workload.hidden}-784 tanh, batch {workload.batch_size}, Adagrad, MAP. Each "
            f"contender in a process of its own; the best of {workload.epochs} epochs in each of "
            f"{ROUNDS[preset]} rounds in turn, without the first epoch. The matrix-product rate "
            "is measured likewise, in the same rounds, over large products in a row of as many "
            "operations as an epoch needs; of an epoch only the products that are needed count. "
            "The library writes metrics, records and progress; looks are apart, and checkpoints "
            "are written meanwhile."
        ),
    )


def _in_turns(
    workload: Workload, rounds: int, say: Callable[[str], None]
) -> tuple[dict[str, list[dict]], list[dict]]:
    """What each contender measured in each round, and the matrix-product rates of each."""
    measured: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
    rates = []
    for turn in range(rounds):
        for name, (function, options) in CONTENDERS.items():
            say(f"{name}, round {turn + 1}")
            measured[name].append(measure(function, workload, **options))
        rates.append(measure("ours:matrix_product", workload))
    return measured, rates


def _ablated(
    workload: Workload, rounds: int, rate: float, say: Callable[[str], None]
) -> list[dict]:
    """The bare scan with less and less around its matrix products, in turns."""
    measured: dict[str, list[dict]] = {name: [] for name in ABLATIONS}
    for turn in range(rounds):
        say(f"parts of the bare scan, round {turn + 1}")
        for name, without in ABLATIONS.items():
            result = measure("jax_contenders:bare_scan", workload, without=without)
            measured[name].append(result)
    seconds = {name: _best(results) for name, results in measured.items()}
    return [
        {
            "arithmetic": name,
            "seconds an epoch": round(value, 3),
            "share of the matrix-product rate": share(workload.flops() / value / 1e9 / rate),
        }
        for name, value in seconds.items()
    ]


def _table(measured: dict[str, list[dict]], workload: Workload, rate: float) -> list[dict]:
    """One row a contender."""
    seconds = {name: _best(results) for name, results in measured.items()}
    return [
        {
            "contender": name,
            "seconds an epoch": round(value, 3),
            "examples a second": f"{workload.examples / value:,.0f}",
            "time / ae_jax": round(value / seconds[OURS], 2),
            "share of the matrix-product rate": share(workload.flops() / value / 1e9 / rate),
            "peak memory (MiB)": round(measured[name][-1]["peak_mib"]),
        }
        for name, value in seconds.items()
    ]


def _curves(preset: str, workload: Workload, rate: float) -> dict[str, list[dict]]:
    """How the library's rate depends on the batch and on the width."""
    short = dataclasses.replace(workload, epochs=2 if preset == "standard" else 1)
    batches = BATCH_SIZES if preset == "standard" else BATCH_SIZES[2:4]
    widths = HIDDEN_SIZES if preset == "standard" else HIDDEN_SIZES[:1]

    def row(label: str, value: int, changed: Workload) -> dict:
        seconds = _best([measure("ours:library", changed)])
        return {
            label: value,
            "seconds an epoch": round(seconds, 3),
            "share of the matrix-product rate": share(changed.flops() / seconds / 1e9 / rate),
        }

    def convolutional_row(size: int) -> dict:
        changed = dataclasses.replace(short, batch_size=size, epochs=1, examples=CONV_EXAMPLES)
        result = measure("ours:library", changed, convolutional=True)
        return {
            "batch size": size,
            "examples a second": f"{CONV_EXAMPLES / _best([result]):,.0f}",
            "share of the matrix-product rate": share(result["share"]),
        }

    return {
        "By batch size": [
            row("batch size", size, dataclasses.replace(short, batch_size=size)) for size in batches
        ],
        "By hidden size": [
            row("hidden units", size, dataclasses.replace(short, hidden=size)) for size in widths
        ],
        "Convolutional, 32 and 64 channels, by batch size": [
            convolutional_row(size) for size in CONV_BATCH_SIZES[: len(batches)]
        ],
    }


def _precisions(workload: Workload, say: Callable[[str], None]) -> list[dict]:
    """What coarser products bring, and what they change in the bound; each has its own rate."""
    rows = []
    for precision in PRECISIONS:
        say(f"precision {precision}")
        result = measure("ours:library", workload, precision=precision)
        rate = measure("ours:matrix_product", workload, precision=precision)["rate"]
        seconds = _best([result])
        rows.append(
            {
                "precision": precision,
                "seconds an epoch": round(seconds, 3),
                "matrix-product rate (GFLOP/s)": round(rate, 1),
                "share of it": share(workload.flops() / seconds / 1e9 / rate),
                f"test bound after {workload.epochs + 3} epochs (nats)": round(result["bound"], 2),
            }
        )
    return rows


def _best(results: list[dict]) -> float:
    """Seconds of the best epoch: whatever else the machine does only ever adds to it."""
    return min(second for result in results for second in result["seconds"])
