"""Figures of dictionaries: atoms, and errors of the codecs beside each other."""

import numpy as np
from matplotlib.figure import Figure

from ae_jax.lab import Shown
from ae_jax.report import comparisons
from ae_jax.report.dictionaries import dictionary_panels
from experiments.dictionaries_fitted import Dictionary, Preset


def error_figure(found: dict[str, dict[int, dict[str, Dictionary]]]) -> Figure:
    """Test error against code size, one panel a source."""
    panels = {}
    for name, by_size in found.items():
        sizes = np.array(list(by_size))
        panels[name] = {
            codec: (sizes, np.array([by_size[size][codec].test_error for size in by_size]))
            for codec in next(iter(by_size.values()))
        }
    return comparisons.curve_panels(
        panels,
        dict.fromkeys(panels, "code size"),
        "test MSE a pixel",
        log_x=True,
        log_y=True,
        share_y=False,
    )


def pictures(
    preset: Preset, found: dict[str, dict[int, dict[str, Dictionary]]]
) -> dict[str, Shown]:
    """The atoms of the largest dictionaries of each source, and errors by size."""
    atoms = {
        name: {codec: one.atoms for codec, one in by_size[preset.sizes[-1]].items()}
        for name, by_size in found.items()
    }
    drawn = {
        name.replace(" ", "_"): Shown(
            dictionary_panels(of_codec, 3),
            f"Atoms of {name}",
            "Each on its own scale; grey is zero where a codec has negative values.",
        )
        for name, of_codec in atoms.items()
    }
    return drawn | {"error": Shown(error_figure(found), "Test error by code size")}
