"""How often XLA compiles, by the name of the compiled function."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from jax import monitoring

EVENT = "/jax/core/compile/backend_compile_duration"


@contextmanager
def compilations() -> Iterator[Counter[str]]:
    """Counts compilations in the block, as `jit(name)`."""
    counts: Counter[str] = Counter()

    def listen(event: str, duration: float, **facts: str) -> None:
        if event == EVENT:
            counts[facts["fun_name"]] += 1

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield counts
    finally:
        monitoring.unregister_event_duration_listener(listen)
