"""Exported programs are run by a script that does not know this library."""

import importlib.util
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest

import ae_jax
from ae_jax.api.export import FILES, export
from ae_jax.api.onnx import export_onnx
from ae_jax.core.errors import UserError

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
with np.load("given.npz") as archive:
    given = dict(archive)
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


# The same by onnxruntime alone.
ONNX_SCRIPT = """
import sys
import numpy as np, onnxruntime

with np.load("given.npz") as archive:
    given, made = dict(archive), {}
for name, key in (("encode", "x"), ("decode", "z")):
    session = onnxruntime.InferenceSession(f"model/{name}.onnx")
    (entry,) = session.get_inputs()
    made[name] = session.run(None, {entry.name: given[key]})[0]
    made[f"{name} one"] = session.run(None, {entry.name: given[key][:1]})[0]
assert not {"ae_jax", "jax"} & {name.partition(".")[0] for name in sys.modules}
np.savez("made.npz", **made)
"""


def read(file):
    """The arrays of an archive by name; the file is closed again."""
    with np.load(file) as archive:
        return dict(archive)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("jax2onnx") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="the extra onnx is not installed",
)
@pytest.mark.parametrize("kind", ["conv", "normed", "pca"])
def test_onnx_does_what_the_model_does(kind, tmp_path):
    more = {"pca": (REAL, None, {"codec": "pca", "latent_dim": 2})}
    x, y, options = (MODELS | more)[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages
        model = ae_jax.fit(x, y, **options)
        folder = export_onnx(model, tmp_path / "model")
    z = np.random.default_rng(2).uniform(0, 1, (len(x), model.setup.latent_dim))
    np.savez(tmp_path / "given.npz", x=x.astype(np.float32), z=z.astype(np.float32))
    subprocess.run([sys.executable, "-c", ONNX_SCRIPT], cwd=tmp_path, check=True)
    assert sorted(path.name for path in folder.iterdir()) == ["decode.onnx", "encode.onnx"]
    made, codes, decoded = read(tmp_path / "made.npz"), model.encode(x), model.decode(z)
    np.testing.assert_allclose(made["encode"], codes, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made["encode one"], codes[:1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made["decode"], decoded, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(made["decode one"], decoded[:1], rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_what_onnx_does_not_take_is_a_sentence(tmp_path, monkeypatch):
    x, y, options = MODELS["label"]
    with pytest.raises(UserError, match="ONNX is for models without a condition"):
        export_onnx(ae_jax.fit(x, y, **options), tmp_path / "model")
    plain = ae_jax.fit(REAL, codec="pca", latent_dim=2)
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"needs the extra: pip install 'ae_jax\[onnx\]'"):
        export_onnx(plain, tmp_path / "model")

    def refuse(function, inputs):
        raise NotImplementedError("no such operation")

    monkeypatch.setitem(sys.modules, "jax2onnx", types.SimpleNamespace(to_onnx=refuse))
    with pytest.raises(UserError, match="does not translate the encoder of this model: no such"):
        export_onnx(plain, tmp_path / "model")
    assert not (tmp_path / "model").exists()


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


@pytest.mark.slow
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
    made = read(tmp_path / "made.npz")
    codes, decoded = model.encode(x, y), model.decode(z, y)
    np.testing.assert_allclose(made["z"], codes, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made["one"], codes[:1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made["x"], decoded, rtol=1e-4, atol=1e-3)
