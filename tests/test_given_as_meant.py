"""What is given means what its owner meant: entries in parts, columns by name, missing cells."""

import json
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

import ae_jax
from ae_jax.api import UserError, as_dataset, configure, prepare
from ae_jax.codecs import KMeans, Pca
from ae_jax.core.door import summed
from ae_jax.core.errors import RunWarning
from ae_jax.data import DataSet, Split, from_object, load
from ae_jax.data.counts import dense_counts
from ae_jax.data.preprocess import Statistics, dequantization
from ae_jax.data.sources.tables import frame_columns
from ae_jax.distributions import Gaussian, kl
from ae_jax.distributions.one_hot import OneHot
from ae_jax.eval.annealing import AnnealedLikelihood
from ae_jax.eval.bounds import ImportanceSampledLikelihood
from ae_jax.eval.posterior_fit import PosteriorFitLikelihood
from ae_jax.eval.reconstruction import PeakSignalToNoise
from ae_jax.models.autoencoder import Autoencoder
from ae_jax.nn import HEADS
from ae_jax.nn.decoders import MLPDecoder
from ae_jax.nn.encoders import MLPEncoder
from ae_jax.nn.heads import FixedGaussianHead
from ae_jax.nn.latents import GaussianLatent
from ae_jax.nn.priors import StandardNormalPrior
from ae_jax.sklearn import PCA, OutlierDetector

SMALL = {"latent_dim": 2, "hidden": [4], "epochs": 1, "batch_size": 16}


def occurrences(kind: str, dtype: type) -> tuple[sparse.spmatrix, np.ndarray]:
    """One entry for every time that a word is in a document, as scipy allows; and the counts."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 6, rng.integers(5, 40)) for _ in range(30)]
    documents[3] = np.zeros(300, int)  # more than a byte holds
    counts = np.stack([np.bincount(one, minlength=6) for one in documents])
    starts = np.cumsum([0, *map(len, documents)])
    words = np.concatenate(documents)
    rows = np.repeat(np.arange(30), np.diff(starts))
    if kind == "csr":
        made = sparse.csr_matrix((np.ones(len(words), dtype), words, starts), shape=(30, 6))
    elif kind == "csc":
        order = np.argsort(words, kind="stable")
        ends = np.cumsum([0, *np.bincount(words, minlength=6)])
        made = sparse.csc_matrix((np.ones(len(words), dtype), rows[order], ends), shape=(30, 6))
    else:
        made = sparse.coo_matrix((np.ones(len(words), dtype), (rows, words)), shape=(30, 6))
    return made, counts


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_sparse_entries_in_parts_add_up_and_stay_as_they_were_given(kind, dtype):
    matrix, counts = occurrences(kind, dtype)
    before = matrix.data.copy()
    np.testing.assert_array_equal(summed(matrix).toarray(), counts)
    np.testing.assert_array_equal(dense_counts(matrix, "documents"), counts)
    splits = from_object(matrix).splits.values()
    found = np.concatenate([np.asarray(split.x, int) for split in splits])
    assert sorted(found.tolist()) == sorted(counts.tolist())
    np.testing.assert_array_equal(matrix.data, before)


def test_what_has_one_entry_each_keeps_its_type():
    bytes_ = sparse.csr_matrix(np.eye(3, dtype=np.uint8))
    assert summed(bytes_).dtype == np.uint8 and summed(bytes_.tocsc()).dtype == np.uint8


def test_dequantized_values_lie_within_the_ends_of_the_interval(monkeypatch):
    """At the largest and the smallest noise that can be drawn."""
    x = jnp.array([[0.0, 128.0, 255.0]])
    keys = jax.random.split(jax.random.key(0), 1)
    statistics = Statistics(max_value=jnp.float32(255.0))
    for noise in (0.0, 1.0 - 2**-24):
        monkeypatch.setattr(jax.random, "uniform", lambda key, shape, n=noise: jnp.full(shape, n))
        values = dequantization(x, statistics, keys)
        assert values.min() > 0 and values.max() < 1
        np.testing.assert_allclose(values, (x + noise) / 256, atol=1e-7)


def test_evaluators_refuse_what_gave_a_number_of_nothing():
    for kind in (PosteriorFitLikelihood, AnnealedLikelihood):
        with pytest.raises(UserError, match="burn_in"):
            kind(burn_in=0)
    with pytest.raises(UserError, match="^share=0.1 of the pattern quadrants hides nothing"):
        ImportanceSampledLikelihood(pattern="quadrants", share=0.1)
    with pytest.raises(UserError, match="level"):
        PeakSignalToNoise(corruption="masking", level=30.0)


def prepared(**options):
    x = options.pop("x", np.random.default_rng(1).uniform(0.1, 0.9, (40, 4)).astype(np.float32))
    config = configure(None, SMALL | options)
    return prepare(config, as_dataset(x, None, config.data))


def test_options_that_hide_nothing_or_cannot_start_are_refused():
    pictures = np.random.default_rng(0).uniform(size=(40, 4, 4, 1)).astype(np.float32)
    quarter = {"objective__pattern": "quadrants", "objective__share": 0.1, "x": pictures}
    with pytest.raises(UserError, match="objective.share=0.1 of the pattern quadrants"):
        prepared(objective="masked_reconstruction", **quarter)
    with pytest.raises(UserError, match="model.head_scale=0.001 is no start"):
        prepared(head="gaussian_global", model__head_scale=1e-3)
    prepared(head="gaussian_global", model__head_scale=2e-3)


def test_pseudo_inputs_of_a_vamp_prior_lie_where_the_data_are():
    vamp = {"model__prior": "vamp", "objective__kl_form": "monte_carlo"}
    x = np.random.default_rng(0).normal(3, 5, (40, 4)).astype(np.float32)
    prepared(**vamp)
    with pytest.raises(UserError, match="model.prior.unit=true keeps .* model.prior.unit=false"):
        prepared(x=x, data__preprocess="identity", **vamp)
    prepared(x=x, data__preprocess="identity", model__prior__unit=False, **vamp)


OMP = {"codec": "sparse_coding", "codec__sparsity": "omp", "codec__num_nonzeros": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (OMP | {"codec__penalty": 5.0}, "codec.penalty is of codes with a penalty"),
        (OMP | {"codec__solver": "fista"}, "codec.solver"),
        (
            {"codec": "sparse_coding", "codec__num_nonzeros": 2},
            "codec.num_nonzeros is of codec.sparsity=omp",
        ),
        ({"codec": "pca", "codec__oversampling": 3}, "oversampling is of codec.solver=randomized"),
        (
            {"codec": "pca", "codec__solver": "gram", "codec__tolerance": 0.5},
            "codec.tolerance .* solved by gram",
        ),
    ],
)
def test_options_of_codecs_that_change_nothing_are_refused(options, message):
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    with pytest.raises(UserError, match=message):
        ae_jax.fit(x, latent_dim=3, **options)


def test_options_of_codecs_that_change_something_are_taken():
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    sketched = {"codec__solver": "randomized", "codec__oversampling": 2, "codec__tolerance": 0.1}
    assert ae_jax.fit(x, codec="pca", latent_dim=2, **sketched).config.codec.oversampling == 2
    searched = {"codec__penalty": 0.5, "codec__solver": "fista", "codec__max_iterations": 2}
    assert ae_jax.fit(x, codec="sparse_coding", latent_dim=3, **searched).step == 2


def test_a_frame_is_reconstructed_in_its_own_order_of_columns():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.normal(size=(60, 4)) * [1, 5, 20, 80], columns=list("abcd"))
    model = ae_jax.fit(frame, codec="pca", latent_dim=2)
    turned = frame[list("dbca")]
    expected = pandas.DataFrame(model.reconstruct(frame), columns=list("abcd"))[list("dbca")]
    np.testing.assert_array_equal(model.reconstruct(turned), expected)
    errors = np.square(turned - model.reconstruct(turned)).sum(axis=1)
    np.testing.assert_allclose(errors, model.score(turned), rtol=1e-3)


def test_tables_refuse_labels_that_are_missing_and_names_that_are_one(tmp_path):
    (tmp_path / "t.csv").write_text("a,species\n" + "1,cat\n2,dog\n3,\n4,NA\n" * 8)
    with pytest.raises(UserError, match="'species' lacks some labels"):
        load(f"{tmp_path / 't.csv'}:species")
    (tmp_path / "s.csv").write_text("a,state\n" + "1,none\n2,mild\n3,severe\n" * 8)
    assert load(f"{tmp_path / 's.csv'}:state").classes == ("mild", "none", "severe")
    pandas = pytest.importorskip("pandas")
    x = np.arange(20.0).reshape(10, 2)
    words = pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "label": ["NA", "EU"] * 5})
    assert from_object(words).classes == ("EU", "NA")  # no text, in which NA is no word
    model = ae_jax.fit(words[["a", "b"]], codec="pca", latent_dim=1)
    more = pandas.DataFrame(np.c_[x, x], columns=["a", "b", "e", "e"])
    np.testing.assert_array_equal(model.encode(more), model.encode(words[["a", "b"]]))
    for names in ([0, "0"], ["a", "a"]):
        with pytest.raises(UserError, match="two columns called"):
            frame_columns(pandas.DataFrame(x, columns=names))


def test_missing_cells_of_pandas_are_missing():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.5, pandas.NA, 3.0], "b": [True, None, False]}, dtype=object)
    frame["c"] = pandas.array([True, pandas.NA, False], dtype="boolean")
    found = frame_columns(frame)
    np.testing.assert_array_equal(found["a"], [1.5, np.nan, 3.0])
    for name in "bc":
        np.testing.assert_array_equal(found[name], [1.0, np.nan, 0.0])


def test_true_and_false_are_no_grey_levels_of_a_model_of_bytes():
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
    splits = {"train": Split(x[:30]), "test": Split(x[30:])}
    model = ae_jax.fit(DataSet("bytes", splits, max_value=255.0), codec="pca", latent_dim=2)
    with pytest.raises(UserError, match="true and false, which are no grey levels"):
        model.encode(x > 127)


def test_categories_of_no_probability_add_nothing():
    q = OneHot(jnp.log(jnp.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])))
    p = OneHot(jnp.log(jnp.array([[0.25, 0.75, 0.0]])))
    expected = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), np.log(4)]
    np.testing.assert_allclose(kl(q, p), expected, rtol=1e-6)
    beyond = OneHot(jnp.log(jnp.array([[0.0, 1.0, 0.0]])))
    assert np.isposinf(kl(q, beyond)).all()


def test_a_mixture_of_more_components_than_examples_that_differ_has_scores():
    x = np.repeat(np.random.default_rng(0).normal(size=(3, 5)), 12, axis=0).astype(np.float32)
    options = {"codec__start": "kmeans", "codec__variance": 0.1}
    model = ae_jax.fit(x, codec="spherical_mixture", latent_dim=6, **options)
    for kind in ("bound", "code", "log_likelihood"):
        assert np.isfinite(model.score(x, kind=kind)).all(), kind


def test_double_precision_is_refused_by_codecs():
    x = np.random.default_rng(0).normal(size=(20, 3))
    with jax.enable_x64(True), pytest.raises(UserError, match="float32"):
        KMeans(2).fit(x, jax.random.key(0))


def test_the_share_of_outliers_may_be_of_any_float():
    x = np.random.default_rng(0).normal(size=(60, 3))
    found = OutlierDetector(PCA(latent_dim=2), contamination=np.float32(0.1)).fit_predict(x)
    assert (found == -1).sum() == 6


def test_tied_weights_need_a_decoder_with_biases():
    with pytest.raises(UserError, match="mirrors the encoder"):
        prepared(tied=True, head="multinomial", model__head__batch_norm=True,
                 x=np.random.default_rng(0).integers(0, 9, (40, 4)))  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_an_option_is_set_once(command):
    twice = ("--set", "model.latent_dim=2", "--set", "model.latent_dim=3")
    status, _, error = command("train", "digits", *twice, "--dry-run")
    assert status == 2 and "--set model.latent_dim is given twice" in error
    for fixed, name in (
        (("--latent-dim", 5), "--latent-dim"),
        (("--set", "model.latent_dim=5"), "--set model.latent_dim"),
    ):
        status, _, error = command("grid", "digits", "--over", "latent_dim=2,3", *fixed)
        assert status == 2 and f"model.latent_dim varies over the grid, and {name} sets it" in error


def test_a_listed_setting_without_an_option_takes_what_is_set(command, tmp_path):
    members = tmp_path / "members.json"
    members.write_text('[{"latent_dim": 2}, {"hidden": [8]}]')
    grid = ("grid", "digits", "--members", members, "--latent-dim", 5, "--print-only")
    assert command(*grid)[0] == 0
    members.write_text('[{"latent_dim": 2}, {"latent_dim": 3}]')
    status, _, error = command(*grid)
    assert status == 2 and "--latent-dim sets it" in error


@pytest.mark.parametrize(
    ("kind", "options", "idle"),
    [
        ("refuse_changed", {"codec": "pca", "latent_dim": 2}, {"codec__tolerance": 0.5}),
        ("check_start", SMALL | {"head": "gaussian_global"}, {"model__head_scale": 1e-3}),
    ],
)
def test_what_was_trained_with_an_idle_option_opens_and_goes_on(
    monkeypatch, tmp_path, kind, options, idle
):
    """As it was before such options were refused."""
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    with monkeypatch.context() as before:
        owner = Pca if kind == "refuse_changed" else HEADS.get("gaussian_global")
        before.setattr(owner, kind, lambda self, *given: None)
        model = ae_jax.fit(x, workdir=tmp_path / "run", **options, **idle)
    again = ae_jax.fit(x, workdir=tmp_path / "run", **options, **idle)
    for other in (again, ae_jax.load(tmp_path / "run", data=x)):
        np.testing.assert_array_equal(other.encode(x), model.encode(x))
    with pytest.raises(UserError):
        ae_jax.fit(x, workdir=tmp_path / "other", **options, **idle)


def test_codes_are_written_as_a_table_with_names_and_labels(command, tmp_path):
    rows = [f"{i % 7},{i % 5},{'cat' if i % 2 else 'dog'}" for i in range(40)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["a,b,label", *rows]))
    run, out = tmp_path / "run", tmp_path / "codes.csv"
    fitted = ("--codec", "pca", "--latent-dim", 1, "--workdir", run)
    assert command("train", table, *fitted)[0] == 0
    assert command("encode", run, "--split", "train", "--out", out)[0] == 0
    lines = [line.split(",") for line in out.read_text().splitlines()]
    assert lines[0] == ["example", "name", "label", "z0"]
    model = ae_jax.load(run)
    train = model.setup.dataset.splits["train"]
    expected = [model.setup.dataset.classes[y] for y in train.y]
    assert [line[1] for line in lines[1:]] == [str(name) for name in train.names]
    assert [line[2] for line in lines[1:]] == expected and set(expected) == {"cat", "dog"}
    codes = np.array([float(line[3]) for line in lines[1:]])
    np.testing.assert_allclose(codes, model.encode(train)[:, 0], rtol=1e-6)
    arrays = tmp_path / "codes.npz"
    assert command("encode", run, "--split", "train", "--out", arrays)[0] == 0
    with np.load(arrays) as kept:
        assert kept["label"].tolist() == expected and kept["y"].tolist() == train.y.tolist()
    status, _, error = command("encode", run, "--out", tmp_path / "codes.txt")
    assert status == 2 and ".csv or .npz" in error


def test_labels_with_gaps_are_pointed_out_and_listeners_have_to_be_functions():
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    conditional = SMALL | {"condition": "label"}
    with pytest.warns(RunWarning, match="of these 91 only 2 have training examples"):
        ae_jax.fit(x, np.arange(40) % 2 * 90, **conditional)
    with pytest.raises(UserError, match="listeners are called .* 3 is no function"):
        ae_jax.fit(x, listeners=[3], **SMALL)


def test_an_option_of_networks_is_named_as_such_to_a_codec():
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    for option in ({"epochs": 3}, {"hidden": [4]}):
        with pytest.raises(UserError, match="is for networks, and a codec has none"):
            ae_jax.fit(x, codec="pca", latent_dim=2, **option)


class OneScaleADimension(FixedGaussianHead):
    @nn.compact
    def __call__(self, features):
        log_scale = self.param("log_scale", nn.initializers.constant(-1.0), self.shape)
        return Gaussian(self.project(features, "mean"), log_scale, len(self.shape))


@pytest.mark.parametrize("leading", [(), (3,), (2,)])
def test_what_examples_share_broadcasts_with_as_many_rows_as_dimensions(leading):
    dimensions = 6  # also the rows of the last two
    examples = dimensions // math.prod(leading)
    codes = jax.random.normal(jax.random.key(0), (*leading, examples, 2))
    model = Autoencoder(
        encoder=MLPEncoder((4,), nn.tanh),
        latent=GaussianLatent(2),
        prior_part=StandardNormalPrior(2),
        decoder=MLPDecoder((4,), nn.tanh, (dimensions,)),
        head=OneScaleADimension((dimensions,)),
    )
    x = jax.random.normal(jax.random.key(1), (examples, dimensions))
    values = model.init(jax.random.key(2), {"x": x})
    found = model.apply(values, codes, {"x": x}, method="decode").log_prob(x)
    assert found.shape == codes.shape[:-1]
    rows = jnp.tile(x, (dimensions // examples, 1))
    each = [
        model.apply(values, code[None], {"x": row[None]}, method="decode").log_prob(row[None])[0]
        for code, row in zip(codes.reshape(-1, 2), rows, strict=True)
    ]
    np.testing.assert_allclose(found.ravel(), np.asarray(each), rtol=1e-5)


OWN_PRIOR = """
import flax.linen as nn
import jax.numpy as jnp
from ae_jax.distributions import DiagonalGaussian
from ae_jax.objectives import Elbo

class ByCondition(nn.Module):
    dim: int

    @nn.compact
    def __call__(self, condition):
        loc = nn.Dense(self.dim)(condition)
        return DiagonalGaussian(loc, jnp.zeros_like(loc))
"""


def test_a_part_that_needs_a_condition_is_refused_without_one(tmp_path):
    file = tmp_path / "parts.py"
    file.write_text(OWN_PRIOR)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype(np.float32), np.arange(40) % 2
    own = {**SMALL, "model__prior": f"{file}:ByCondition"}
    sentence = "needs a condition: set model.condition, and model.into to parts of which prior"
    with pytest.raises(UserError, match=sentence):
        ae_jax.fit(x, y, **own)
    with pytest.raises(UserError, match=sentence):  # which only encoder and decoder see
        ae_jax.fit(x, y, **own, model__condition="label")
    into = ["decoder", "prior"]
    model = ae_jax.fit(x, y, **own, model__condition="label", model__into=into)
    assert model.sample(2, y=1).shape == (2, 3)


def test_of_ones_own_file_its_own_names_are_the_valid_ones(tmp_path):
    file = tmp_path / "parts.py"
    file.write_text(OWN_PRIOR)
    with pytest.raises(UserError, match="valid: ByCondition$"):
        configure(None, {**SMALL, "objective": f"{file}:Nope"})


def test_hints_say_what_was_meant(command):
    with pytest.raises(UserError, match=r"several values are needed, as in \[16\], not 16"):
        configure(None, {"hidden": 16})
    status, _, error = command("train", "digits", "--set", "latent_dim=3")
    assert status == 2 and "section.option=value: did you mean model.latent_dim?" in error
    status, _, error = command("train", "digits", "--set", "nothing=3")
    assert status == 2 and "did you mean" not in error


def test_words_beside_chosen_labels_are_not_to_be_labels_too(tmp_path):
    table = tmp_path / "x.csv"
    rows = [f"{i},{'ab'[i % 2]},note {i}" for i in range(12)]
    table.write_text("\n".join(["value,group,note", *rows]))
    with pytest.raises(UserError, match=r"'note 0'; leave it out of the table$"):
        load(f"{table}:group")


def test_columns_that_the_run_does_not_know_are_named(tmp_path, command):
    names = ["a", "b", "c"]
    for name, columns in (("train", names), ("new", [*names, "d"])):
        rows = np.random.default_rng(1).normal(size=(20, len(columns))).round(3)
        text = "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)])
        (tmp_path / f"{name}.csv").write_text(text)
    small = ("--hidden", 4, "--latent-dim", 2, "--epochs", 1, "--no-report", "--workdir", "run")
    assert command("train", "train.csv", *small)[0] == 0
    status, _, error = command("score", "run", "--data", "new.csv", "--out", "scores.csv")
    assert status == 0 and "new.csv: d left out, which the data of the run have not" in error


def test_runs_tell_networks_apart_beside_a_codec_and_stopped_from_unfinished(tmp_path, command):
    rows = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    small = ("train", "x.npy", "--hidden", 4, "--no-report", "--epochs")
    for size in (1, 2):
        assert command(*small, 1, "--latent-dim", size, "--workdir", f"all/{size}")[0] == 0
    patient = ("--set", "train.patience=1", "--set", "optim.learning_rate=0.5", "--seed", 3)
    stopped = (*small, 200, "--latent-dim", 2, *patient, "--workdir", "all/stopped")
    status, _, error = command(*stopped)
    assert status == 0 and "its best state is the checkpoint `best`" in error
    assert (
        command("train", "x.npy", "--codec", "pca", "--latent-dim", 2, "--workdir", "all/pca")[0]
        == 0
    )
    lines = [
        [c.strip() for c in line.split("|")] for line in command("runs", "all")[1].splitlines()
    ]
    header = next(line for line in lines if "run" in line)
    by_run = {line[header.index("run")]: dict(zip(header, line, strict=False)) for line in lines}
    assert [by_run[name]["state"] for name in ("1", "2", "stopped")] == ["over", "over", "stopped"]
    assert [by_run[name]["latent_dim"] for name in ("1", "2")] == ["1", "2"]
    status, _, error = command(*stopped)
    assert status == 0 and "nothing to train" in error and "train.patience ended it" in error


def test_a_plan_counts_what_is_done_and_lets_be_what_lost_patience(tmp_path, command):
    rows = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    grid = ("grid", "x.npy", "--over", "latent_dim=1,2", "--hidden", 4, "--workdir", "grid")
    patient = ("--set", "train.patience=1", "--set", "optim.learning_rate=0.5")
    assert command(*grid, "--epochs", 200, *patient)[0] == 0
    for epochs in (200, 300):
        status, out, error = command(*grid, "--epochs", epochs, *patient, "--print-only")
        done = sum(
            max(json.loads(line)["step"] for line in file.read_text().splitlines())
            for file in tmp_path.glob("grid/*/metrics.jsonl")
        )
        assert status == 0, error
        assert f"nothing to train; {done:,} steps are done" in out and done > 0
