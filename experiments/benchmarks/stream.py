"""Sets that do not fit on the device: training as they stream against training from its memory."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from experiments.benchmarks.contender import measure
from experiments.benchmarks.report import Results
from experiments.benchmarks.stream_contenders import write_set
from experiments.benchmarks.workload import Workload

TARGET = 0.9
# The set is so many times larger than the bytes that a streamed run may use for examples.
TIMES_BUDGET = 4
# An accelerator gets pictures and a network large enough that files can be read as fast.
SIZES = {
    "smoke": ((28, 28, 1), 1, Workload(hidden=100, epochs=1, examples=4_000)),
    "cpu": ((28, 28, 1), 3, Workload(epochs=2, examples=100_000)),
    "accelerator": (
        (64, 64, 3),
        3,
        Workload(hidden=2000, batch_size=1000, epochs=2, examples=400_000),
    ),
}


def run(preset: str, say: Callable[[str], None]) -> Results:
    """The rate of both on one set, in turns; and that of the reader with nothing to wait for."""
    on_cpu = measure("ours:device", Workload())["kind"] == "cpu"
    shape, rounds, workload = SIZES[
        "smoke" if preset == "smoke" else "cpu" if on_cpu else "accelerator"
    ]
    measured: dict[str, list[dict]] = {"from the device": [], "streamed": []}
    with tempfile.TemporaryDirectory() as parent:
        say(f"{workload.examples:,} examples of {shape} into files")
        folder, size = write_set(Path(parent) / "set", shape, workload.examples)
        budget = size // TIMES_BUDGET
        for turn in range(rounds):
            for name, results in measured.items():
                say(f"{name}, round {turn + 1}")
                results.append(
                    measure(
                        "stream_contenders:training",
                        workload,
                        folder=str(folder),
                        budget=budget if name == "streamed" else None,
                    )
                )
        say("the reader alone")
        reader = measure("stream_contenders:reading", workload, folder=str(folder), budget=budget)[
            "rate"
        ]
    rates = {
        name: workload.examples / statistics.median(result["epoch"] for result in results)
        for name, results in measured.items()
    }
    ratio = rates["streamed"] / rates["from the device"]
    return Results(
        tables={"Examples a second": _table(measured, rates)},
        claims=[("streamed rate / rate from device memory", ratio, TARGET)],
        facts={
            "bytes of the set": size,
            "device budget for examples, bytes": budget,
            "examples a second, the reader alone": round(reader),
        },
        note=(
            f"{workload.examples:,} synthetic examples of {shape} bytes in array_record files, "
            f"{TIMES_BUDGET} times a device budget of {budget:,} bytes; {workload.hidden} tanh, "
            f"batch {workload.batch_size}, Adagrad. Each measurement in a process of its own, in "
            "turns; the mean epoch after the first. Files lie in the page cache."
        ),
    )


def _table(measured: dict[str, list[dict]], rates: dict[str, float]) -> list[dict]:
    return [
        {
            "examples": name,
            "a second": f"{rates[name]:,.0f}",
            "spread of the rounds": _spread([result["epoch"] for result in results]),
            "first epoch, seconds": round(results[0]["first"], 2),
            "MiB": round(statistics.median(result["peak_mib"] for result in results)),
        }
        for name, results in measured.items()
    ]


def _spread(seconds: list[float]) -> str:
    """Slowest against fastest round."""
    return f"{100 * (max(seconds) / min(seconds) - 1):.0f} %"
