"""Exported programs are run by a script that does not know this library."""

import subprocess
import sys

import numpy as np
import pytest

import ae_jax
from ae_jax.api.export import FILES, export

SMALL = {"latent_dim": 2, "hidden": (6,), "epochs": 1, "batch_size": 20}
GREY = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 1)).astype(np.uint8)
REAL = np.random.default_rng(0).normal([50.0, -3.0, 0.02], [4.0, 2.0, 1e-3], (80, 3))
LABELS = (np.arange(80) % 3).astype(np.int32)

# All that somebody else needs; numbers go in and out as .npz.
SCRIPT = """
import sys
import jax, numpy as np
from jax import export
from safetensors.numpy import load_file

assert not any(name.startswith("ae_jax") for name in sys.modules)
given = dict(np.load("given.npz"))
more = [given.pop("condition")] if "condition" in given else []
weights = load_file("model/weights.safetensors")
run = {}
for name in ("encode", "decode"):
    with open(f"model/{name}.stablehlo", "rb") as file:
        run[name] = export.deserialize(bytearray(file.read()))
z = run["encode"].call(weights, given["x"], *more)
one = run["encode"].call(weights, given["x"][:1], *(part[:1] for part in more))
x = run["decode"].call(weights, given["z"], *more)
np.savez("made.npz", z=z, one=one, x=x)
"""


MODELS = {
    "conv": (GREY, None, {**SMALL, "encoder": "conv", "decoder": "conv", "hidden": (4,)}),
    "noisy": (GREY, None, {**SMALL, "preprocess": "fixed_binarization"}),
    "label": (REAL, LABELS, {**SMALL, "preprocess": "standardization", "condition": "label"}),
    "normed": (REAL, None, {**SMALL, "model__encoder__batch_norm": True}),
    **{
        codec: (GREY, None, {"codec": codec, "latent_dim": 3})
        for codec in ("kmeans", "nmf", "probabilistic_pca", "sparse_coding")
    },
}


@pytest.mark.slow_cases(
    "probabilistic_pca", "conv", "noisy", "normed", "kmeans", "nmf", "sparse_coding"
)
@pytest.mark.parametrize("kind", list(MODELS))
def test_programs_do_what_the_model_does(kind, tmp_path):
    x, y, options = MODELS[kind]
    model = ae_jax.fit(x, y, **options)
    folder = export(model, tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    z = np.random.default_rng(2).uniform(0, 1, (len(x), model.setup.latent_dim))
    given = {"x": x.astype(np.float32), "z": z.astype(np.float32)}
    if y is not None:
        given["condition"] = y
    np.savez(tmp_path / "given.npz", **given)
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, check=True)
    made = np.load(tmp_path / "made.npz")
    codes, decoded = model.encode(x, y), model.decode(z, y)
    np.testing.assert_allclose(made["z"], codes, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made["one"], codes[:1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made["x"], decoded, rtol=1e-4, atol=1e-3)
