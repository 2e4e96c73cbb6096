"""The training step: this library against other code for the same arithmetic, and its curves."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from experiments.benchmarks.contender import Contender, in_turns
from experiments.benchmarks.report import Results, share
from experiments.benchmarks.workload import Workload

OURS, BINARISED, BARE = "ae_jax", "ae_jax, dynamic binarisation", "bare scan"
PRODUCTS = "large matrix products alone"
CONTENDERS = {
    OURS: ("ours:library", {}),
    BINARISED: ("ours:library", {"preprocess": "dynamic_binarization"}),
    BARE: ("jax_contenders:bare_scan", {}),
    "one jitted step a batch": ("jax_contenders:tutorial_loop", {}),
    "PyTorch": ("torch_contenders:eager", {}),
    "PyTorch, compiled": ("torch_contenders:compiled", {}),
    "pythae": ("torch_contenders:pythae", {}),
    PRODUCTS: ("ours:matrix_products", {}),
}
# What the bare scan leaves out, one more from row to row: what is left in the end are the products.
ABLATIONS = {
    "all": (),
    "gradient descent, not Adagrad": ("adagrad",),
    "and without the MAP term": ("adagrad", "prior"),
    "and without activations: products alone": ("adagrad", "prior", "activations"),
}
# Epochs of each contender, and of each point of a curve.
TURNS = {"smoke": (1, 1), "standard": (12, 4)}
BATCH_SIZES = {"smoke": (100, 250), "standard": (20, 50, 100, 250, 1000, 4096)}
HIDDEN_SIZES = {"smoke": (200,), "standard": (200, 500, 1000, 2000)}
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
CONV_BATCH_SIZES, CONV_EXAMPLES = (100, 1000), 5000

Measured = Mapping[str, Mapping[str, Any]]


def run(preset: str, say: Callable[[str], None]) -> Results:
    """Measures everything; what is compared takes turns, epoch by epoch."""
    turns, short = TURNS[preset]
    workload = (
        Workload(epochs=turns) if preset == "standard" else Workload(epochs=turns, examples=5000)
    )
    contenders = {
        name: Contender(function, workload, options)
        for name, (function, options) in CONTENDERS.items()
    }
    measured = in_turns(contenders, say)
    brief = dataclasses.replace(workload, epochs=short)
    claims = [
        ("within 3 % of the bare scan: bare scan / ae_jax", times(measured, BARE), 1 / 1.03),
        ("share of the matrix-product rate", times(measured, PRODUCTS), 0.75),
        ("PyTorch / ae_jax", times(measured, "PyTorch"), 1.45),
        ("pythae / ae_jax", times(measured, "pythae"), 2.5),
        ("plain / dynamically binarised", 1 / times(measured, BINARISED), 1 / 1.15),
    ]
    rate = workload.flops() / statistics.median(measured[PRODUCTS]["seconds"]) / 1e9
    facts = {
        "matrix-product rate (GFLOP/s)": round(rate, 1),
        "a look at 1,000 training and 10,000 test examples (seconds)": round(
            measured[OURS]["look"], 3
        ),
    }
    return Results(
        tables={
            "Seconds an epoch": _table(measured, workload),
            "What the bare scan spends its time on": _ablated(brief, say),
            **_curves(preset, brief, say),
            "By precision of matrix products": _precisions(brief, say),
        },
        claims=claims,
        facts=facts,
        note=(
            f"{workload.examples:,} MNIST digits, 784-{workload.hidden}-{workload.latent_dim}-"
            f"{workload.hidden}-784 tanh, batch {workload.batch_size}, Adagrad, MAP. Each "
            "contender in a process of its own, all alive and taking turns, epoch by epoch: "
            f"seconds are medians of {turns} epochs after the first ({short} in the tables below "
            "the first), ratios are medians over turns of the ratio within the turn. The "
            "matrix-product rate is that of large products with as many operations as an epoch "
            "needs, which take their turns too; of an epoch only the products that are needed "
            "count. The library writes metrics, records and progress; looks are apart, and "
            "checkpoints are written meanwhile."
        ),
    )


def times(measured: Measured, name: str, other: str = OURS) -> float:
    """How many times as long an epoch of one takes as one of the other: the median over turns."""
    pairs = zip(measured[name]["seconds"], measured[other]["seconds"], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def _share(
    measured: Measured, name: str, needed: float, workload: Workload, products: str = PRODUCTS
) -> str:
    """What share of the rate of products an epoch of `needed` operations has."""
    return share(times(measured, products, name) * needed / workload.flops())


def _median(result: Mapping[str, Any]) -> float:
    return statistics.median(result["seconds"])


def _table(measured: Measured, workload: Workload) -> list[dict]:
    """One row a contender."""
    return [
        {
            "contender": name,
            "seconds an epoch": round(_median(result), 3),
            "examples a second": f"{workload.examples / _median(result):,.0f}",
            "time / ae_jax": round(times(measured, name), 2),
            "share of the matrix-product rate": _share(measured, name, workload.flops(), workload),
            "peak memory (MiB)": round(result["peak_mib"]),
        }
        for name, result in measured.items()
    ]


def _with_products(
    contenders: Mapping[str, Contender], workload: Workload, say: Callable[[str], None]
) -> Measured:
    """What contenders measure beside the matrix products of the workload."""
    products = Contender("ours:matrix_products", workload)
    return in_turns({**contenders, PRODUCTS: products}, say)


def _ablated(workload: Workload, say: Callable[[str], None]) -> list[dict]:
    """The bare scan with less and less around its matrix products."""
    contenders = {
        name: Contender("jax_contenders:bare_scan", workload, {"without": without})
        for name, without in ABLATIONS.items()
    }
    measured = _with_products(contenders, workload, say)
    return [
        {
            "arithmetic": name,
            "seconds an epoch": round(_median(measured[name]), 3),
            "time / all": round(times(measured, name, "all"), 2),
            "share of the matrix-product rate": _share(measured, name, workload.flops(), workload),
        }
        for name in contenders
    ]


def _curves(preset: str, workload: Workload, say: Callable[[str], None]) -> dict[str, list[dict]]:
    """How the library's rate depends on the batch and on the width."""

    def rows(label: str, changed: Mapping[int, Workload]) -> list[dict]:
        contenders = {f"{label} {v}": Contender("ours:library", w) for v, w in changed.items()}
        measured = _with_products(contenders, workload, say)
        return [
            {
                label: value,
                "seconds an epoch": round(_median(measured[name]), 3),
                "share of the matrix-product rate": _share(
                    measured, name, contenders[name].workload.flops(), workload
                ),
            }
            for value, name in zip(changed, contenders, strict=True)
        ]

    def resized(sizes: tuple[int, ...], of: str) -> dict[int, Workload]:
        return {size: dataclasses.replace(workload, **{of: size}) for size in sizes}

    return {
        "By batch size": rows("batch size", resized(BATCH_SIZES[preset], "batch_size")),
        "By hidden size": rows("hidden units", resized(HIDDEN_SIZES[preset], "hidden")),
        "Convolutional, 32 and 64 channels, by batch size": _convolutional(workload, say),
    }


def _convolutional(workload: Workload, say: Callable[[str], None]) -> list[dict]:
    contenders = {
        f"{size}, convolutional": Contender(
            "ours:library",
            dataclasses.replace(workload, batch_size=size, examples=CONV_EXAMPLES),
            {"convolutional": True},
        )
        for size in CONV_BATCH_SIZES
    }
    measured = _with_products(contenders, workload, say)
    return [
        {
            "batch size": size,
            "examples a second": f"{CONV_EXAMPLES / _median(measured[name]):,.0f}",
            "share of the matrix-product rate": _share(
                measured, name, measured[name]["flops"], workload
            ),
        }
        for size, name in zip(CONV_BATCH_SIZES, contenders, strict=True)
    ]


def _precisions(workload: Workload, say: Callable[[str], None]) -> list[dict]:
    """What coarser products bring, and what they change in the bound; each has its own rate."""
    contenders = {}
    for precision in PRECISIONS:
        options = {"precision": precision}
        contenders[precision] = Contender("ours:library", workload, options)
        contenders[_products_in(precision)] = Contender("ours:matrix_products", workload, options)
    measured = in_turns(contenders, say)
    return [
        {
            "precision": precision,
            "seconds an epoch": round(_median(measured[precision]), 3),
            "matrix-product rate (GFLOP/s)": round(
                workload.flops() / _median(measured[_products_in(precision)]) / 1e9, 1
            ),
            "share of it": _share(
                measured, precision, workload.flops(), workload, _products_in(precision)
            ),
            f"test bound after {workload.epochs + 3} epochs (nats)": round(
                measured[precision]["bound"], 2
            ),
        }
        for precision in PRECISIONS
    ]


def _products_in(precision: str) -> str:
    return f"products in {precision}"
