"""What is said of a model is of all of it, under a name of its own, or refused in a sentence."""

import base64
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from ae_jax.api import configure, fit, load, prepare
from ae_jax.api.evaluating import evaluated
from ae_jax.api.export import programs_of, weights_of
from ae_jax.api.layerwise import Layerwise, fit_layerwise
from ae_jax.codecs import Pca, ProbabilisticPca
from ae_jax.codecs.base import mean_squared_error
from ae_jax.core.errors import UserError
from ae_jax.data import from_object
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.passes import EvaluationData
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.eval import (
    ImportanceSampledLikelihood,
    LinearProbe,
    PeakSignalToNoise,
    PosteriorFitLikelihood,
)
from ae_jax.eval.estimates import mean_and_error
from ae_jax.eval.roc import bootstrapped, paired, roc
from ae_jax.objectives import Reconstruction
from ae_jax.report import comparisons, saving
from ae_jax.report.claims import at_least, at_most, close_to
from ae_jax.report.explorer import specification
from ae_jax.train.config import CodecConfig, DataConfig, RunConfig, TrainConfig
from tests.test_explorer import untrained

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("judged")


@pytest.fixture(scope="module")
def trained(image_set):
    return fit(image_set, hidden=(8,), latent_dim=2, epochs=1)


def test_evaluators_of_one_kind_keep_a_value_each(trained):
    three = [ImportanceSampledLikelihood(count) for count in (1, 10, 50)]
    found = trained.evaluate("test", three)
    alone = [trained.evaluate("test", [one])["log_likelihood"] for one in three]
    kind = "ImportanceSampledLikelihood"
    names = [f"{kind}/log_likelihood", f"{kind}(num_samples=50)/log_likelihood"]
    assert [found[name] for name in ("log_likelihood", *names)] == alone


def test_functions_of_one_name_keep_a_value_each(trained):
    def named(value):
        def score(module, variables, data, key):
            return {"score": value}

        return score

    found = trained.evaluate("test", [named(value) for value in (1.0, 2.0, 3.0, 4.0)])
    names = ("score", "score/score", "score 2/score", "score 3/score")
    assert [found[name] for name in names] == [1.0, 2.0, 3.0, 4.0]


def test_two_numbers_of_samples_for_one_estimate_are_refused(command):
    assert command("train", "digits", "--epochs", 1, "--hidden", 8, "--workdir", "run")[0] == 0
    given = ("evaluate", "run", "--evaluator", "log_likelihood", "--nll-samples", 20)
    status, _, error = command(*given)
    assert status == 2 and "leave the evaluator out" in error


def test_many_parts_of_samples_count_as_many_however_large_the_logarithm(monkeypatch, trained):
    estimate = ImportanceSampledLikelihood(num_samples=3000, part=1)

    def scored(self, model, batch, proposal, prior, z, log_q):
        same = jnp.full(z.shape[:-1], -43_000.0)
        return dataclasses.make_dataclass("Same", [("log_weights", object)])(lambda: same)

    monkeypatch.setattr(ImportanceSampledLikelihood, "_scored", scored)
    found = trained.evaluate("test", [estimate])
    # A running sum in float32 is 1.9 below.
    assert found["log_likelihood"] == pytest.approx(-43_000.0, abs=0.02)


def test_a_single_example_has_no_standard_error():
    assert mean_and_error("nll", np.array([3.0])) == {"nll": 3.0}
    assert mean_and_error("nll", np.array([3.0, 5.0])) == {"nll": 4.0, "nll_se": 1.0}


def test_a_ladder_and_its_prior_cut_a_code_into_the_same_parts(vector_set):
    ladder = {"model__latent": "ladder", "latent_dim": 5, "objective__kl_form": "monte_carlo"}
    uneven = configure(None, ladder | {"model__latent__top": 3})
    with pytest.raises(UserError, match="3 dimensions at the top .* set model.prior.top=3"):
        prepare(uneven, vector_set)
    prepare(uneven, vector_set, begins=False)  # what was trained so opens
    prepare(configure(None, ladder | {"model__latent__top": 3, "model__prior__top": 3}), vector_set)
    prepare(configure(None, ladder | {"model__prior__top": 2}), vector_set)  # the half, as it is


@pytest.mark.parametrize(("part", "head"), [("latent", "gaussian"), ("head", "multinomial")])
def test_a_constant_of_a_normalisation_that_is_off_is_refused_where_a_run_begins(part, head):
    words = from_object(sparse.csr_matrix(RNG.poisson(1.0, (40, 5)).astype("uint8")))
    options = {f"model__{part}__batch_norm_epsilon": 0.1, "model__head": head, "hidden": [8]}
    config = configure(None, options)
    with pytest.raises(UserError, match=f"model.{part}.batch_norm_epsilon is of"):
        prepare(config, words)
    prepare(config, words, begins=False)
    prepare(configure(None, options | {f"model__{part}__batch_norm": True}), words)


def test_a_peak_below_the_range_of_the_inputs_is_refused(trained, image_set):
    assert trained.evaluate("test", ["psnr"])["psnr"] > 0
    span = float(np.ptp(trained.inputs(image_set.splits["test"].head(10_000))))
    with pytest.raises(UserError, match=r"range of .*, and the peak is 0\.1"):
        trained.evaluate("test", [PeakSignalToNoise(peak=0.1)])
    assert np.isfinite(trained.evaluate("test", [PeakSignalToNoise(peak=span)])["psnr"])


def test_labels_of_examples_over_devices_are_those_of_the_examples(image_set):
    setup = prepare(configure(None, {"hidden": [8], "latent_dim": 2}), image_set)
    split = image_set.splits["test"].head(39)
    state = setup.initial_state()

    def probed(on_device):
        data = EvaluationData(on_device, Statistics(255.0), PREPROCESSING.get("grey"), 50)
        return LinearProbe(folds=2)(setup.architecture.model, state.variables, data, KEY)

    spread = DeviceSplit.spread(split, 2, jnp.asarray)
    assert len(spread.y) == 40
    assert probed(spread) == probed(DeviceSplit.put(split))


def test_statistics_without_a_value_are_refused(trained):
    scores, anomalous = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])
    with pytest.raises(UserError, match="that have a weight"):
        roc(scores, anomalous, np.array([1.0, 1.0, 0.0, 0.0]))
    found = bootstrapped(
        {"one": scores, "other": scores[::-1]}, anomalous, lambda r: r.rejection(0.5), replicates=20
    )
    with pytest.raises(UserError, match="resamples have no finite value"):
        paired(found, "one", "other")
    constant = EvaluationData(
        DeviceSplit(jnp.full((4, *trained.setup.dataset.shape), 3, jnp.uint8), None, 0),
        Statistics(255.0),
        PREPROCESSING.get("grey"),
    )
    with pytest.raises(UserError, match="examples that vary"):
        evaluated(trained.setup, trained.variables, constant, ["explained_variance"], {})


def test_fewer_draws_than_a_gaussian_needs_are_refused(trained):
    with pytest.raises(UserError, match="needs more than 3 draws, not 3"):
        trained.evaluate("test", [PosteriorFitLikelihood(chains=1, draws=3)])


def test_where_all_seeds_are_missing_a_figure_has_a_gap_and_its_numbers_are_kept():
    y = np.array([[1, math.nan, 3], [2, math.nan, 4.0]])
    figure = comparisons.curves({"vae": (np.array([2, 5, 10]), y)}, "z", "bound")
    lines = saving.numbers(figure).decode().splitlines()
    at = {line.split(",")[3]: line.split(",")[4:] for line in lines[1:] if ",line,VAE," in line}
    assert float(at["2.0"][0]) == 1.5 and float(at["10.0"][0]) == 3.5
    assert at["5.0"] == ["nan", ""]


@pytest.mark.parametrize(
    ("judge", "direction", "value", "target", "tolerance"),
    [
        (at_least, lambda v, t, tol: v >= t - tol, 0.99951, 1.0, 0.0),
        (close_to, lambda v, t, tol: abs(v - t) <= tol, 86.7604, 86.26, 0.5),
        (at_most, lambda v, t, tol: v <= t + tol, 0.2501, 0.25, 1e-5),
        (at_most, lambda v, t, tol: v <= t + tol, 0.25, 0.25, 0.0),
        (at_least, lambda v, t, tol: v >= t - tol, 1 - 1e-14, 1.0, 0.0),
    ],
)
def test_the_kept_numbers_give_the_kept_verdict(judge, direction, value, target, tolerance):
    claim = judge("a number", value, target, tolerance, "", "a source")
    assert claim.holds == direction(value, target, tolerance)
    assert claim.holds == direction(claim.value, claim.target, claim.tolerance)
    assert claim.value == pytest.approx(value, abs=5e-4)


def test_the_explorer_decodes_under_every_label(image_set):
    model = untrained(image_set, model__condition="label", model__head="continuous_bernoulli")
    spec = specification(model)
    lattice, code = spec["decoder"]["lattice"], spec["code"]
    assert lattice["groups"] == len(spec["condition"]["choices"]) == 2
    levels = np.frombuffer(base64.b64decode(lattice["values"]["bytes"]), np.uint8) / 255
    low, high = np.array(code["low"]), np.array(code["high"])
    first = low + (high - low) / 2 / np.array([lattice["columns"], lattice["rows"]])
    for label in (0, 1):
        expected = model.decode(first[None], y=label, units="model").ravel()
        shown = levels.reshape(2, lattice["rows"] * lattice["columns"], -1)[label, 0]
        shown = spec["data"]["low"] + shown * (spec["data"]["high"] - spec["data"]["low"])
        np.testing.assert_allclose(shown, expected, atol=1 / 255)


def test_an_example_has_one_code_alone_among_others_and_exported(image_set, tmp_path):
    model = untrained(image_set, preprocess="dynamic_binarization", model__head="bernoulli")
    x = np.asarray(image_set.splits["test"].x)[:6]
    codes = model.encode(x)
    np.testing.assert_allclose(model.encode(x[5:6])[0], codes[5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.encode(x[::-1])[::-1], codes, rtol=1e-5, atol=1e-6)
    twice = model.inputs(np.repeat(x[:1], 40, axis=0))
    assert (twice == twice[:1]).all()
    # Others have other noise: as many pixels are 1 as their grey levels say.
    grey = np.random.default_rng(0).integers(0, 2, (4000, 8, 8, 1)).astype(np.uint8)
    grey[..., 0] = 64 + 2 * grey[..., 0]  # unlike each other, with probabilities near a quarter
    drawn = model.inputs(grey)
    expected = grey.mean() / 255
    assert drawn.mean() == pytest.approx(expected, abs=5 * 0.44 / np.sqrt(drawn.size))
    each = drawn.mean(axis=(0, 3))
    assert np.abs(each - expected).max() < 5 * 0.44 / np.sqrt(4000)
    exported = programs_of(model)["encode"].call(weights_of(model), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(exported, codes, rtol=1e-5, atol=1e-6)


def test_options_of_other_data_than_are_given_are_refused(image_set):
    for options in ({"protocol": "full"}, {"data__name": "cifar10"}):
        with pytest.raises(UserError, match="of the data given is .*: leave it out"):
            fit(image_set, epochs=1, **options)
    with pytest.raises(UserError, match="data.name of the data given is array, not mnist"):
        fit(np.eye(12, dtype=np.float32), epochs=1, data__name="mnist")
    elsewhere = RunConfig(
        data=DataConfig(name="cifar10", protocol="full"), train=TrainConfig(epochs=1)
    )
    fit(image_set, config=elsewhere, hidden=(4,))  # of the data that it was made for
    with pytest.raises(UserError, match="config is a RunConfig or a CodecConfig, not dict"):
        fit(image_set, config={"train": {"epochs": 1}})
    with pytest.raises(UserError, match="config is a RunConfig"):
        fit_layerwise(image_set, config=CodecConfig())


def test_labels_without_examples_are_refused(image_set, tmp_path):
    fit(image_set, codec="pca", latent_dim=2, workdir=tmp_path / "run")
    with pytest.raises(UserError, match="labels are given without examples"):
        load(tmp_path / "run", y=np.zeros(3))


def test_layers_of_a_code_of_k_units_are_made(vector_set):
    how = Layerwise(objective=Reconstruction(), train=TrainConfig(epochs=1, batch_size=20))
    model = fit_layerwise(
        vector_set, how=how, latent="top_k", latent_k=3, latent_dim=4, hidden=[5], epochs=1
    )
    codes = model.encode(vector_set.splits["test"])
    assert ((codes != 0).sum(axis=1) <= 3).all() and codes.any()


def test_codes_drawn_of_a_fitted_mixture_are_such_as_the_model_has(image_set):
    factors = fit(image_set, codec="nmf", latent_dim=2)
    assert factors.draw(300, prior="fitted").min() >= 0
    clusters = fit(image_set, codec="kmeans", latent_dim=3)
    drawn = clusters.draw(900, prior="fitted")
    assert np.isin(drawn, (0, 1)).all() and (drawn.sum(axis=1) == 1).all()
    shares = clusters.encode(image_set.splits["train"]).mean(axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0), shares, atol=0.08)
    logistic = untrained(image_set, model__latent="sigmoid", model__prior="none")
    drawn = logistic.draw(300, prior="fitted")
    assert drawn.min() >= 0 and drawn.max() <= 1


def test_batches_are_judged_together_as_all_data_are():
    t = 1.6e9 + np.linspace(0, 1e7, 10_000)[:, None]
    x = np.concatenate([t, 1e6 * RNG.normal(size=(10_000, 1))], axis=1)
    whole = Pca(1).fit(x, KEY)
    parts = Pca(1).fit_batches(np.array_split(x, 500))
    variances = (float(each.codec.explained_variance[0]) for each in (whole, parts))
    assert next(variances) == pytest.approx(next(variances), rel=1e-3)
    about = x[:50] - x.mean(axis=0)
    direction = np.asarray(whole.codec.components[0], np.float64)
    error = (np.square(about).sum(axis=1) - np.square(about @ direction)).mean()
    found = float(mean_squared_error(whole.codec, x[:50]))
    assert found == pytest.approx(error, rel=1e-2)
    flat = np.concatenate([1.6e9 + 10 * RNG.normal(size=(100, 1)), t[:100]], axis=1)
    for fit_to in (lambda: Pca(1).fit(flat, KEY), lambda: Pca(1).fit_batches(np.split(flat, 5))):
        with pytest.raises(UserError, match="column 0 vary by .* about 1.6e"):
            fit_to()


def test_options_of_another_way_to_fit_are_refused_of_batches():
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    for options in ({"solver": "randomized"}, {"tolerance": 0.5}):
        with pytest.raises(UserError, match="moments are solved exactly"):
            Pca(2, **options).fit_batches([x[:15], x[15:]])
    Pca(2, solver="gram").fit_batches([x[:15], x[15:]])
    with pytest.raises(UserError, match="a fit to all data at once"):
        ProbabilisticPca(2, solver="svd").fit_batches([x[:15], x[15:]])
