"""What a run keeps for itself: files that nothing else may be written over."""

from pathlib import Path

from ae_jax.core.errors import UserError

# Two of these tell that a folder holds a run: others may have a file of one of these names.
_MARKS = ("checkpoints", "config.json", "data.json", "provenance.json", "metrics.jsonl")
_OWN = (
    *_MARKS,
    *("start.json", "results.json", "facts.npz", "report.html", "explorer.html", ".lock"),
)


def refuse_over_run(path: Path) -> None:
    """Raises UserError where a file or a folder that is written would be one of a run's own, or
    the folder of a run itself: beside what a run keeps there may be others."""
    path = path.resolve()
    if _is_run(path):
        raise UserError(f"{path} holds a run: name a folder of its own, such as {path / 'export'}")
    for folder in path.parents:
        own = path.relative_to(folder).parts[0]
        if own in _OWN and _is_run(folder):
            raise UserError(f"{path} is, or lies in, what the run {folder} keeps: name another")


def _is_run(folder: Path) -> bool:
    return sum((folder / mark).exists() for mark in _MARKS) > 1
