"""Training layer by layer: what each layer is trained on, and what the whole starts from."""

import json

import chex
import numpy as np
import pytest

from ae_jax.api import Fitted, configure, fit
from ae_jax.api.layerwise import Layerwise, fit_layerwise, layer_config, pretrain
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet
from ae_jax.models.rbm import rbm_from_params
from ae_jax.objectives import ContrastiveDivergence, Denoising, Reconstruction
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam, Momentum
from ae_jax.train.rundir import RunDirectory

DEEP = configure(
    None,
    {
        "objective__name": "reconstruction",
        "model__activation": "sigmoid",
        "model__latent": "deterministic",
        "model__head": "bernoulli",
        "hidden": [12, 8],
        "latent_dim": 3,
        "epochs": 2,
        "batch_size": 50,
        "learning_rate": 0.01,
    },
)
SHORT = configure(None, {"epochs": 2, "batch_size": 50}).train
HOW = {
    "rbm": Layerwise(ContrastiveDivergence(), train=SHORT),
    "autoencoder": Layerwise(Reconstruction(), Adam(1e-2), train=SHORT),
    "denoising": Layerwise(Denoising(corruption="masking"), Adam(1e-2), train=SHORT),
}


class Recorder:
    """Trains in memory and remembers with what it was asked to."""

    def __init__(self):
        self.members: list[Member] = []
        self.data: list[DataSet] = []

    def __call__(self, member: Member, data: DataSet) -> Fitted:
        self.members.append(member)
        self.data.append(data)
        return fit(data, config=member.config, start=member.start)


@pytest.fixture(scope="module", params=list(HOW))
def trained(request, image_set):
    recorder = Recorder()
    return request.param, recorder, pretrain(DEEP, image_set, HOW[request.param], recorder)


@pytest.mark.slow
def test_each_layer_is_trained_on_the_codes_of_the_one_before(trained, image_set):
    kind, recorder, layers = trained
    assert [member.name for member in recorder.members] == ["layer_1", "layer_2", "layer_3"]
    assert recorder.data[0] is image_set
    for data, before, seen in zip(recorder.data[1:], layers.stages, recorder.data, strict=False):
        for name, split in data.splits.items():
            np.testing.assert_array_equal(split.x, before.encode(seen.splits[name]))
            np.testing.assert_array_equal(split.y, image_set.splits[name].y)
            assert split.first_id == image_set.splits[name].first_id
    models = [member.config.model for member in recorder.members]
    assert [model.latent_dim for model in models] == [12, 8, 3]
    expected = {
        "rbm": ("rbm", ["sigmoid", "sigmoid", "gaussian"]),
        "autoencoder": ("autoencoder", ["sigmoid", "sigmoid", "deterministic"]),
        "denoising": ("autoencoder", ["sigmoid", "sigmoid", "deterministic"]),
    }
    assert {model.name for model in models} == {expected[kind][0]}
    assert [model.latent for model in models] == expected[kind][1]


@pytest.mark.slow
def test_the_whole_does_what_the_layers_do_in_turn(trained, image_set):
    """By the layers' own encode and decode, at every depth."""
    _, _, layers = trained
    x = image_set.splits["test"]
    for depth in (1, 2, 3):
        codes = layers.stages[0].encode(x)
        for stage in layers.stages[1:depth]:
            codes = stage.encode(codes)
        back = codes
        for stage in reversed(layers.stages[:depth]):
            back = stage.decode(back, units="model")
        whole = layers.model(image_set, depth)
        np.testing.assert_allclose(whole.encode(x), codes, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            whole.reconstruct(x, units="model").reshape(len(x), -1),
            back.reshape(len(x), -1),
            atol=1e-5,
        )
        error = (
            np.square(whole.reconstruct(x, units="model") - whole.inputs(x))
            .sum(axis=(1, 2, 3))
            .mean()
        )
        assert whole.evaluate()["squared_error_per_example"] == pytest.approx(error, rel=1e-4)


@pytest.mark.slow
def test_a_machine_is_the_layer_that_it_became(image_set):
    """Up by W and b, down by its transpose and a: the formulas of the RBM by hand."""
    layers = pretrain(DEEP, image_set, HOW["rbm"], Recorder())
    machine = rbm_from_params(layers.stages[0].params)
    x = layers.stages[0].inputs(image_set.splits["test"])[:5].reshape(5, -1)
    w, a, b = (np.asarray(v) for v in (machine.kernel, machine.visible_bias, machine.hidden_bias))
    hidden = 1 / (1 + np.exp(-(x @ w + b)))
    visible = 1 / (1 + np.exp(-(hidden @ w.T + a)))
    whole = layers.model(image_set, 1)
    np.testing.assert_allclose(
        whole.reconstruct(image_set.splits["test"], units="model")[:5].reshape(5, -1),
        visible,
        atol=1e-5,
    )


@pytest.mark.slow
def test_fine_tuning_begins_at_the_layers_and_is_kept_with_them(image_set, tmp_path):
    model = fit_layerwise(image_set, config=DEEP, how=HOW["rbm"], workdir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "layer_1",
        "layer_2",
        "layer_3",
        "whole",
    ]
    layers = pretrain(DEEP, image_set, HOW["rbm"], Recorder())
    setup = layers.model(image_set).setup
    assert RunDirectory(tmp_path / "whole").start() == setup.start.fingerprint
    # One batch of all examples at once, without a step: where the first epoch began.
    loss = layers.model(image_set).evaluate("train")["loss"]
    still = fit_layerwise(
        image_set, config=configure(DEEP, {"learning_rate": 1e-12}), how=HOW["rbm"]
    )
    assert still.records[0]["running/loss"] == pytest.approx(loss, rel=1e-4)
    assert model.evaluate("train")["loss"] < loss
    records = {p: p.read_bytes() for p in tmp_path.glob("*/metrics.jsonl")}
    again = fit_layerwise(image_set, config=DEEP, how=HOW["rbm"], workdir=tmp_path)
    chex.assert_trees_all_equal(again.params, model.params)
    assert {p: p.read_bytes() for p in tmp_path.glob("*/metrics.jsonl")} == records


@pytest.mark.slow
def test_another_layer_below_is_another_run_above(image_set, tmp_path):
    """Layers that would go on from other codes are refused, not mixed."""
    fit_layerwise(image_set, config=DEEP, how=HOW["rbm"], workdir=tmp_path)
    other = json.loads((tmp_path / "layer_1" / "config.json").read_text())
    assert other["model"]["name"] == "rbm"
    longer = Layerwise(ContrastiveDivergence(), train=configure(None, {"epochs": 3}).train)
    with pytest.raises(UserError, match=r"layer_1 holds a run of another configuration"):
        fit_layerwise(image_set, config=DEEP, how=longer, workdir=tmp_path)


@pytest.mark.slow
def test_gaussian_units_have_their_own_optimiser_and_binary_ones_theirs(vector_set):
    config = configure(DEEP, {"model__head": "gaussian_fixed"})
    how = Layerwise(optim=Momentum(0.5), gaussian_optim=Momentum(0.25))
    steps = [layer_config(config, how, depth).optim.learning_rate for depth in (1, 2, 3)]
    assert steps == [0.25, 0.5, 0.25]
    layers = pretrain(config, vector_set, Layerwise(train=SHORT), Recorder())
    machine = layers.stages[0]
    assert machine.config.model.head == "gaussian_fixed"
    x = vector_set.splits["test"].x
    np.testing.assert_allclose(
        layers.model(vector_set, 1).reconstruct(x, units="model"),
        machine.reconstruct(x, units="model"),
        atol=1e-5,
    )
    # Linear visible units: the mean is W h + a itself.
    up = machine.encode(x)
    kernel, bias = machine.params["hidden"]["kernel"], machine.params["visible"]["bias"]
    down = up @ np.asarray(kernel).T + np.asarray(bias)
    np.testing.assert_allclose(machine.decode(up, units="model"), down, atol=1e-5)


@pytest.mark.slow
def test_tied_layers_make_a_tied_whole(image_set):
    config = configure(DEEP, {"model__tied": True})
    for how in HOW.values():
        whole = pretrain(config, image_set, how, Recorder()).model(image_set)
        assert "kernel" not in whole.params["head"]["logits"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("model__activation", "tanh", "model.activation is sigmoid or linear, not tanh"),
        ("model__latent", "gaussian", "model.latent is deterministic or .*, not gaussian"),
        ("model__head", "gaussian_sigmoid", "model.head is bernoulli or gaussian_fixed"),
        ("model__decoder_hidden", [8], "the decoder mirrors the encoder"),
        ("model__latent", "relu", "RBMs make a code that is deterministic or sigmoid"),
    ],
)
def test_a_whole_that_layers_cannot_make_is_refused(option, value, message, image_set):
    with pytest.raises(UserError, match=message):
        fit_layerwise(image_set, config=configure(DEEP, {option: value}), how=HOW["rbm"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grey", "real"])
def test_it_works_at_its_defaults(kind):
    """Which are those of a first try: an array, and nothing else."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (120, 12)).astype(np.uint8)
    x = grey if kind == "grey" else rng.normal(size=(120, 12))
    model = fit_layerwise(x, hidden=(8,), latent_dim=2, epochs=1)
    assert model.reconstruct(x).shape == (120, 12)
    assert model.config.model.head == {"grey": "bernoulli", "real": "gaussian_fixed"}[kind]
