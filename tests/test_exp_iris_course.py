"""The course of learning of irises, against a hand-written gradient descent and scikit-learn."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA

import ae_jax
from experiments import iris_course
from experiments.linear_choices import irises
from tests.smoke_runs import check_pictures, run_smoke


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("iris")
    return workdir, run_smoke(iris_course.main, workdir)


@pytest.fixture(scope="module")
def flowers() -> np.ndarray:
    x = load_iris().data[:, 1:3]
    return x - x.mean(axis=0)


def kept(workdir, epoch: int):
    return ae_jax.load(workdir / f"step=0.01-epoch={epoch}", data=irises("centred"))


@pytest.mark.slow
def test_angles_are_to_scikit_learns_axis(smoke, flowers):
    axis = PCA(1).fit(flowers).components_[0]
    rows = {row["epoch"]: row for row in smoke[1]["tables"]["The line at a step of 0.01"]}
    assert list(rows) == [0, 1, 10, 40]
    for epoch in (1, 10, 40):
        model = kept(smoke[0], epoch)
        ends = model.decode(np.array([[0.0], [1.0]]), units="model")
        direction = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
        angle = np.degrees(np.arccos(min(1.0, abs(direction @ axis))))
        assert rows[epoch]["angle (degrees)"] == pytest.approx(angle, abs=0.05)
    assert rows[40]["angle (degrees)"] < rows[1]["angle (degrees)"]


@pytest.mark.slow
def test_a_step_is_gradient_descent_by_hand(smoke, flowers):
    """Squared errors fall from epoch to epoch as those of NumPy's network with the same weights.

    The batches are in another order: at a small step that changes an epoch by little.
    """
    model = kept(smoke[0], 1)
    later = kept(smoke[0], 10)
    origin, step = model.decode(np.array([[0.0], [1.0]]), units="model")
    decoder, bias_out = step - origin, origin
    codes = model.encode(np.array([[0, 0], [1, 0], [0, 1]], np.float32))[:, 0]
    encoder, bias_in = codes[1:] - codes[0], codes[0]
    rng = np.random.default_rng(0)
    for _ in range(9):
        for batch in np.array_split(rng.permutation(150), 10):
            x = flowers[batch]
            z = x @ encoder + bias_in
            off = z[:, None] * decoder + bias_out - x
            to_code = off @ decoder
            decoder = decoder - 0.01 * (z[:, None] * off).mean(axis=0)
            bias_out = bias_out - 0.01 * off.mean(axis=0)
            encoder = encoder - 0.01 * (to_code[:, None] * x).mean(axis=0)
            bias_in = bias_in - 0.01 * to_code.mean()
    by_hand = np.square((flowers @ encoder + bias_in)[:, None] * decoder + bias_out - flowers)
    x = flowers.astype(np.float32)
    ours = np.square(later.reconstruct(x, units="model") - x).sum(axis=1).mean()
    assert ours == pytest.approx(by_hand.sum(axis=1).mean(), rel=0.05)


@pytest.mark.slow
def test_a_step_that_is_too_large_is_said_to_be(smoke):
    rows = {row["step size"]: row for row in smoke[1]["tables"]["By step size, at the end"]}
    assert rows[0.5]["squared error"] == "not finite" and rows[0.5]["finite epochs"] < 40
    last = smoke[1]["claims"][-1]
    assert last["name"].startswith("step 0.5") and last["holds"]
    assert rows[0.0003]["over PCA (%)"] > rows[0.01]["over PCA (%)"]


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {"lines", "loss"})
