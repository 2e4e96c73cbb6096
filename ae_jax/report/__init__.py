"""Figures and the report of a run. Nothing here is imported by training or evaluation.

`figures`, `comparisons` and `dictionaries` turn arrays into matplotlib figures in the one look of
`style`, `saving` writes them with their numbers, `pages` turns tables, pictures and text into one
self-contained page, and `explorer` makes a page that decodes codes in the browser.
"""

from pathlib import Path
from typing import Any


def write(model: Any, directory: Any) -> Path:
    """Writes `figures/` and `report.html` of a fitted model to its run's directory; returns the
    path of the report."""
    from ae_jax.report import codec_report, run_report

    writers = {"network": run_report.write, "codec": codec_report.write}
    return writers[model.config.kind](model, directory)
