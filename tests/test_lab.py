"""What experiments are made of: estimates, claims, sweeps, the protocol, the command."""

import dataclasses
import json
from types import SimpleNamespace

import click
import numpy as np
import pytest
from scipy import stats

from ae_jax.codecs import Pca
from ae_jax.core.commit import commit
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.lab import (
    Estimate,
    Findings,
    Lab,
    Member,
    Sweep,
    along,
    autoencoder,
    claim,
    experiment,
    level,
    network,
    protocol,
    reconstructed,
    shown,
)
from ae_jax.lab.sweeps import paths_of
from ae_jax.objectives import OBJECTIVES, Elbo, Reconstruction, SparseL1
from ae_jax.report import figures
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.optimisers import Adagrad, Adam


def swept(values: dict[int, list[float]], option: str = "model.latent_dim") -> Sweep:
    """A sweep over one option, of models that are nothing but a number."""
    return Sweep(
        {f"z={z}": {option: z} for z in values},
        {
            f"z={z}": {f"z={z}/seed={i}": SimpleNamespace(value=v) for i, v in enumerate(own)}
            for z, own in values.items()
        },
    )


def value(model) -> float:
    return model.value


def test_an_estimate_has_the_standard_error_of_a_mean():
    values = [1.0, 2.0, 4.0, 9.0]
    found = Estimate.of(values)
    assert found.mean == 4.0 and found.values == (1.0, 2.0, 4.0, 9.0)
    np.testing.assert_allclose(found.standard_error, stats.sem(values), rtol=1e-12)
    assert Estimate.of([3.0]).standard_error == 0.0
    with pytest.raises(UserError, match="no seeds"):
        Estimate.of([])


def test_errors_of_a_difference_add_in_squares():
    found = Estimate(5.0, 3.0, (), 3).less(Estimate(7.0, 4.0, (), 5))
    assert (found.mean, found.standard_error, found.seeds) == (-2.0, 5.0, 3)


def test_errors_that_one_seed_does_not_have_are_not_counted():
    one, more = Estimate.of([3.0]), Estimate.of([0.9, 1.1])
    assert claim("it", one, at_least=2.0).holds
    for value in (one, one.less(more), more.less(one)):
        with pytest.raises(UserError, match="its value has none"):
            claim("it", value, at_least=0.0, errors=2)


@pytest.mark.parametrize(
    ("judged", "target", "holds"),
    [
        ({"at_least": 1.0}, 1.0, True),
        ({"at_least": 1.0, "errors": 2}, 2.0, True),
        ({"at_least": 1.0, "errors": 3}, 2.5, False),
        ({"at_least": 1.0, "errors": 3, "tolerance": 0.5}, 2.5, True),
        ({"at_most": 3.0, "errors": 2}, 2.0, True),
        ({"at_most": 3.0, "errors": 3}, 1.5, False),
        ({"close_to": 3.0, "errors": 2}, 3.0, True),
        ({"close_to": 3.0, "errors": 1}, 3.0, False),
        ({"equal_to": 2.0}, 2.0, True),
    ],
)
def test_a_claim_lies_beyond_its_target_by_standard_errors(judged, target, holds):
    found = claim("it", Estimate(2.0, 0.5, (), 3), **judged)
    assert (found.value, found.target, found.holds) == (2.0, target, holds)
    assert found.source == "the claim of this experiment"


@pytest.mark.parametrize(
    ("judged", "problem"),
    [
        ({}, "needs one of"),
        ({"at_least": 1, "at_most": 2}, "needs one of"),
        ({"at_least": 1, "errors": 2}, "its value has none"),
        ({"equal_to": 1, "tolerance": 0.1}, "is exact"),
        ({"at_least": 1, "tolerance": -0.1}, "below 0"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(judged, problem):
    with pytest.raises(UserError, match=problem):
        claim("it", 1.0, **judged)


def test_a_sweep_gives_means_rows_and_curves_in_the_order_of_values():
    sweep = swept({10: [1.0, 3.0], 2: [5.0, 6.0]})
    assert {name: one.mean for name, one in sweep.estimates(value).items()} == {
        "z=10": 2.0,
        "z=2": 5.5,
    }
    assert sweep.table(bound=value)[0] == {
        "latent_dim": 10, "seeds": 2, "bound": 2.0, "bound ±": 1.0
    }  # fmt: skip
    at, drawn = sweep.curve("latent_dim", value)
    np.testing.assert_array_equal(at, [2, 10])
    np.testing.assert_array_equal(drawn, [[5.0, 1.0], [6.0, 3.0]])
    assert sweep.varied() == {"latent_dim": [10, 2]}
    assert list(sweep.fitted) == ["z=10/seed=0", "z=10/seed=1", "z=2/seed=0", "z=2/seed=1"]


def test_a_curve_over_what_does_not_vary_alone_or_lost_a_seed_is_refused():
    with pytest.raises(UserError, match="over that alone"):
        swept({2: [1.0]}).curve("epochs", value)
    with pytest.raises(UserError, match="as many seeds"):
        swept({2: [1.0], 3: [1.0, 2.0]}).curve("latent_dim", value)
    with pytest.raises(UserError, match="all seeds of z=2 diverged"):
        swept({2: []}).estimates(value)
    with pytest.raises(UserError, match="no protocol"):
        protocol(swept({2: []}))


def test_an_unknown_figure_names_those_that_there_are():
    with pytest.raises(UserError, match="did you mean 'curves'"):
        shown("curve", "Heading")


def numbers() -> DataSet:
    x = np.random.default_rng(0).random((48, 6)).astype(np.float32)
    return DataSet("numbers", {"train": Split(x[:32]), "test": Split(x[32:])}, max_value=1.0)


def test_a_network_takes_the_words_of_fit():
    config = network(numbers(), objective="elbo", beta=2.0, hidden=(4,), latent_dim=3, epochs=7)
    assert (config.objective.beta, config.model.latent_dim, config.train.epochs) == (2.0, 3, 7)
    assert (config.data.name, config.model.hidden) == ("numbers", (4,))
    with pytest.raises(UserError, match="a codec is fitted by"):
        network(numbers(), codec="pca")


def test_a_network_takes_an_objective_and_an_optimiser_that_were_made():
    how = Adagrad(learning_rate=0.02, burn_in=7)
    config = network(numbers(), objective=Elbo(beta=3.0), optimiser=how, seed=4)
    assert (config.objective, config.optim) == (Elbo(beta=3.0), how)
    # Options are of what was made.
    config = network(numbers(), objective=Elbo(beta=3.0), optimiser=how, learning_rate=0.1)
    assert config.optim == how.replace(learning_rate=0.1)


def test_an_autoencoder_is_the_configuration_that_is_written_out():
    form = {"hidden": (4,), "latent_dim": 3, "head": "gaussian_fixed"}
    found = autoencoder(numbers(), "grey", epochs=5, learning_rate=2e-3, batch_size=128, **form)
    expected = RunConfig(
        data=DataConfig("numbers", protocol="paper", preprocess="grey"),
        model=ModelConfig(latent="deterministic", **form),
        objective=Reconstruction(),
        optim=Adam(learning_rate=2e-3, schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=5),
        eval=EvalConfig(every=5),
    )
    assert found == expected
    other = autoencoder(
        numbers(), epochs=5, every=2, objective=SparseL1(weight=0.1), latent="relu",
        schedule="constant",
    )  # fmt: skip
    assert (other.objective, other.eval.every) == (SparseL1(weight=0.1), 2)
    assert (other.model.latent, other.optim.schedule) == ("relu", "constant")
    named = autoencoder(numbers(), epochs=5, objective__name="denoising", every=2)
    assert OBJECTIVES.name_of(type(named.objective)) == "denoising"


def test_what_is_given_twice_is_refused():
    for options in ({"objective": Elbo(beta=2.0), "objective__name": "iwae"},
                    {"optimiser": Adam(), "optim__name": "sgd"}):  # fmt: skip
        with pytest.raises(UserError, match="is given twice: as one that was made, and by its"):
            network(numbers(), **options)
    with pytest.raises(UserError, match="preprocess is given twice"):
        network(numbers(), "standardization", data__preprocess="grey")


def test_a_metric_along_a_run_is_that_of_the_records_that_have_it():
    records = [{"epoch": 1, "loss": 3.0}, {"epoch": 2}, {"epoch": 4, "loss": 1.5}]
    epochs, values = along(SimpleNamespace(records=records), "loss")
    np.testing.assert_array_equal(epochs, [1, 4])
    np.testing.assert_array_equal(values, [3.0, 1.5])
    with pytest.raises(UserError, match="no record has 'lost'; there are: epoch, loss"):
        along(SimpleNamespace(records=records), "lost")
    one = {"run": (epochs, values), "other": (np.array([0.5, 2]), values)}
    assert [part.tolist() for part in level(7.0, one)] == [[0.5, 4.0], [7.0, 7.0]]
    with pytest.raises(UserError, match="over the range of curves, and there are none"):
        level(7.0, {"nothing": (np.array([]), np.array([]))})


def test_examples_stand_over_what_models_make_of_them(tmp_path):
    x = np.random.default_rng(1).random((40, 3, 3, 1)).astype(np.float32)
    data = DataSet("images", {"train": Split(x[:32]), "test": Split(x[32:])}, max_value=1.0)
    run = Lab(tmp_path).fit("pca", Pca(2), data, "grey")
    found = reconstructed(data.splits["test"].x, {"run": run, "codec": run.params}, "Heading")
    other = Lab(tmp_path / "other").fit("pca", Pca(2), data, "standardization")
    with pytest.raises(UserError, match="run and other see the examples in different units"):
        reconstructed(data.splits["test"].x, {"run": run, "other": other}, "Heading")
    with pytest.raises(UserError, match="need a run among the models"):
        reconstructed(data.splits["test"].x, {"codec": run.params}, "Heading")
    rows, mean = x.reshape(40, 9), x[:32].reshape(32, 9).mean(axis=0)
    axes = np.linalg.svd(rows[:32] - mean, full_matrices=False)[2][:2]
    made = (mean + (rows[32:] - mean) @ axes.T @ axes).reshape(8, 3, 3, 1)
    expected = figures.reconstructions(x[32:], {"run": made, "codec": made})
    drawn, wanted = (one.axes[0].images[0].get_array() for one in (found.figure, expected))
    np.testing.assert_allclose(drawn, wanted, atol=1e-5)
    assert found.heading == "Heading"


@dataclasses.dataclass(frozen=True)
class Preset:
    seeds: int


@pytest.mark.slow
def test_an_experiment_sweeps_and_says_what_it_did(tmp_path, capsys):
    kept = {}

    @experiment("toy", {"smoke": Preset(2)})
    def main(preset: Preset, lab: Lab) -> Findings:
        """A toy: it trains. More of it."""
        data = numbers()
        config = network(data, hidden=(4,), epochs=1, batch_size=16, beta=2.0)
        sweep = kept["sweep"] = lab.sweep(config, data, {"latent_dim": (1, 2)}, preset.seeds)
        lines = {"toy": sweep.curve("latent_dim", lambda model: model.records[-1]["test/elbo"])}
        return Findings(
            protocol=protocol(sweep),
            note="A note.",
            tables={"Sizes": sweep.table(step=lambda model: model.step)},
            pictures={"sizes": shown("curves", "Sizes", lines, "size", "bound")},
            claims=[claim("runs", len(sweep.fitted), equal_to=4)],
        )

    assert isinstance(main, click.Command)
    resumes = "Interrupted and started again, it continues; what is finished is reused."
    assert main.help == f"A toy: it trains. More of it.\n\n{resumes}"
    main(["--workdir", str(tmp_path)], standalone_mode=False)
    said = (
        "numbers, 32 training examples of 6, grey, autoencoder 4-Z, gaussian code, bernoulli "
        "head, elbo (beta 2), adam (learning rate 0.001), 1 epoch in batches of 16"
    )
    sweep = kept["sweep"]
    assert protocol(sweep) == f"{said}; latent_dim 1, 2; 2 seeds each"
    alone = sweep.fitted["latent_dim=2/seed=1"]
    assert protocol(alone) == said.replace("4-Z", "4-2")
    # What varies is not said of the first of them.
    varied = [
        {"optim.name": name, "train.batch_size": 16, "objective.beta": beta}
        for name, beta in (("adam", 1.0), ("sgd", 2.0))
    ]
    others = Sweep(
        {str(i): setting for i, setting in enumerate(varied)},
        {str(i): {str(i): alone} for i in range(2)},
    )
    assert protocol(others) == (
        said.replace("4-Z", "4-2")
        .replace("elbo (beta 2)", "elbo")
        .replace("adam (learning rate 0.001)", "optimiser varied")
        .replace("batches of 16", "batches of a varied size")
        + "; optim.name adam, sgd; batch_size 16; beta 1, 2"
    )
    assert sweep.table(step=lambda model: model.step)[1] == {
        "latent_dim": 2, "seeds": 2, "step": 2.0, "step ±": 0.0
    }  # fmt: skip
    assert "holds: runs" in capsys.readouterr().out
    trained = json.loads((tmp_path / "results.json").read_text())["trained"]
    assert trained["commits"] == [commit()] and trained["first"] <= trained["last"]
    assert "training begun" in (tmp_path / "report.html").read_text()
    for name in ("results.json", "report.html", "figures/sizes.png", "latent_dim=1/seed=0"):
        assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("over", "problem"),
    [
        ({"latent_dim": (2, 3), "model.latent_dim": (4, 5)}, "varies in two ways at once"),
        ({"latent_dim": 2}, "over a list of values, not over 2"),
        ({"objective": "elbo"}, "over a list of values, not over 'elbo'"),
        ({"latent_dim": ()}, "over no value"),
    ],
)
def test_what_cannot_vary_is_refused(over, problem, vector_set):
    with pytest.raises(UserError, match=problem):
        paths_of(network(vector_set), over)


def test_numbers_of_numpy_vary_as_those_of_python(vector_set):
    found = paths_of(network(vector_set), {"beta": np.linspace(1, 2, 3), "latent_dim": range(2, 4)})
    assert found == {"objective.beta": [1.0, 1.5, 2.0], "model.latent_dim": [2, 3]}
    assert {type(value) for value in found["objective.beta"]} == {float}


@pytest.mark.parametrize("option", [{"limit": 5}, {"data__name": "mnist"}])
def test_what_is_settled_with_the_data_is_not_an_option(option, vector_set):
    with pytest.raises(UserError, match="settled where the data set is loaded"):
        network(vector_set, **option)


def test_a_lab_refuses_two_runs_of_one_name_and_what_is_no_codec(vector_set, tmp_path):
    lab, config = Lab(str(tmp_path)), network(vector_set)
    with pytest.raises(UserError, match="two members are called a"):
        lab.train([Member("a", config), Member("a", config)], vector_set)
    with pytest.raises(UserError, match="a codec is one of ae_jax.codecs"):
        lab.fit("p", "pca", vector_set, "auto")
    with pytest.raises(UserError, match="seeds is a whole number from 1"):
        lab.sweep(config, vector_set, {"latent_dim": (2,)}, seeds=1.5)


def test_what_diverged_is_an_empty_row_and_is_named():
    sweep = swept({2: [5.0, 6.0], 10: []})
    row = sweep.table(bound=value)[1]
    assert row == {"latent_dim": 10, "seeds": 0, "bound": "", "bound ±": ""}
    with pytest.raises(UserError, match="all seeds of z=10 diverged"):
        sweep.estimates(value)
    with pytest.raises(UserError, match="a column of the sweep is called seeds"):
        sweep.table(seeds=value)
    with pytest.raises(UserError, match="not finite"):
        Estimate.of([1.0, np.nan])
