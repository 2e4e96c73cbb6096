"""The estimators for scikit-learn: its own checks, its own models, and `ae_jax.fit` itself."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn import cluster, decomposition
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator

import ae_jax
import ae_jax.sklearn as sk
from ae_jax.codecs import CODECS
from ae_jax.data import DataSet, Split
from ae_jax.eval.scores import outliers, threshold_at
from ae_jax.sklearn.codecs import CodecEstimator

CODEC_ESTIMATORS = {
    kind.codec: kind
    for kind in (getattr(sk, name) for name in sk.__all__)
    if issubclass(kind, CodecEstimator)
}
SMALL = {"latent_dim": 2, "hidden": (8,), "epochs": 2, "random_state": 0}
QUICK = [sk.PCA(), sk.OutlierDetector(sk.PCA())]
LONG = [
    *(kind() for kind in CODEC_ESTIMATORS.values() if kind is not sk.PCA),
    sk.Autoencoder(latent_dim=2, hidden=(8,), epochs=2),
    sk.OutlierDetector(sk.Autoencoder(latent_dim=2, hidden=(8,), epochs=2)),
]


def checks(*estimators, marks=()):
    """Each check of scikit-learn for each of the estimators.

    But for the one of arrays of other libraries, which none of these estimators claims to take and
    which scikit-learn skips unless SciPy was imported for it.
    """
    return [
        pytest.param(estimator, check, marks=marks, id=f"{estimator}-{check.func.__name__}")
        for one in estimators
        for estimator, check in estimator_checks_generator(one)
        if check.func.__name__ != "check_array_api_input"
    ]


# Data of a check are noise, on which few iterations settle nothing.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator, check", [*checks(*QUICK), *checks(*LONG, marks=pytest.mark.slow)]
)
def test_what_scikit_learn_asks_of_an_estimator(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """[200, 6] float64: two factors, mixed, with noise of 0.1."""
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(2, 6))
    return rng.normal(size=(200, 2)) @ mixing + 0.1 * rng.normal(size=(200, 6)) + 2.0


@pytest.fixture(scope="module")
def autoencoder(x):
    return sk.Autoencoder(**SMALL).fit(x)


def test_every_codec_has_an_estimator_with_its_options_and_their_defaults():
    assert {*CODEC_ESTIMATORS} == {*CODECS}
    shared = {"latent_dim", "preprocess", "score_kind", "random_state"}
    for name, kind in CODEC_ESTIMATORS.items():
        spec, given = CODECS.get(name)(), kind().get_params()
        options = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}
        assert {k: v for k, v in given.items() if k not in shared} == {
            k: v for k, v in options.items() if k != "latent_dim"
        }
        assert all(f"\n    {option}" in kind.__doc__ or f", {option} " in kind.__doc__
                   for option in given), name  # fmt: skip


def test_pca_is_that_of_scikit_learn(x):
    ours, theirs = sk.PCA(3).fit(x), decomposition.PCA(3).fit(x)
    signs = np.sign((ours.components_ * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(ours.components_ * signs[:, None], theirs.components_, atol=2e-4)
    np.testing.assert_allclose(
        ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-4
    )
    codes = ours.transform(x)
    np.testing.assert_allclose(codes * signs, theirs.transform(x), atol=2e-3)
    back = theirs.inverse_transform(theirs.transform(x))
    np.testing.assert_allclose(ours.inverse_transform(codes), back, atol=1e-4)
    squared = np.square(x - back).sum(axis=1).mean()
    np.testing.assert_allclose(ours.score(x), -squared, rtol=1e-4)


def test_a_score_is_the_exact_density_where_there_is_one(x):
    model = sk.ProbabilisticPCA(2).fit(x)
    codec = model.model_.params
    weights = np.asarray(codec.weights, np.float64)
    covariance = weights.T @ weights + float(codec.noise_variance) * np.eye(6)
    exact = multivariate_normal(np.asarray(codec.mean), covariance).logpdf(x).mean()
    np.testing.assert_allclose(model.score(x), exact, rtol=1e-4)
    errors = model.set_params(score_kind="reconstruction").score(x)
    reconstructed = model.inverse_transform(model.transform(x))
    np.testing.assert_allclose(errors, -np.square(x - reconstructed).sum(axis=1).mean(), rtol=1e-3)


@pytest.mark.slow
def test_clusters_are_those_of_scikit_learn():
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    x, truth = make_blobs(150, centers=centres, cluster_std=0.3, random_state=5)
    theirs = cluster.KMeans(3, random_state=0).fit_predict(x)
    for kind in (sk.KMeans, sk.SphericalMixture):
        model = kind(3, random_state=0)
        labels = model.fit_predict(x)
        assert adjusted_rand_score(labels, theirs) == adjusted_rand_score(labels, truth) == 1.0
        assert np.array_equal(model.transform(x).argmax(axis=1), labels)
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1.0, atol=1e-5)


def test_no_number_of_atoms_is_as_many_as_there_are(x):
    assert sk.PCA().fit(x).transform(x).shape == (200, 6)
    assert sk.ProbabilisticPCA().fit(x).transform(x).shape == (200, 5)
    assert sk.PCA().fit(x[:4]).transform(x).shape == (200, 3)


@pytest.mark.slow
def test_an_autoencoder_is_what_fit_gives_of_all_examples(x, autoencoder):
    same = ae_jax.fit(
        DataSet("array", {"train": Split(x.astype(np.float32))}),
        latent_dim=2, hidden=[8], epochs=2, seed=0, progress=False,
    )  # fmt: skip
    codes = autoencoder.transform(x)
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(codes, same.encode(x))
    np.testing.assert_array_equal(autoencoder.inverse_transform(codes), same.decode(codes))
    bound = -same.score(x, "bound").mean(dtype=np.float64)
    np.testing.assert_allclose(autoencoder.score(x), bound, rtol=1e-6)


@pytest.mark.slow
def test_pickled_and_cloned(x, autoencoder):
    again = pickle.loads(pickle.dumps(autoencoder))
    np.testing.assert_array_equal(again.transform(x), autoencoder.transform(x))
    fresh = clone(autoencoder)
    assert fresh.get_params() == autoencoder.get_params()
    with pytest.raises(NotFittedError):
        fresh.transform(x)


def test_a_grid_search_in_a_pipeline_finds_how_many_factors_there_are(x):
    pipeline = make_pipeline(StandardScaler(with_std=False), sk.ProbabilisticPCA())
    search = GridSearchCV(pipeline, {"probabilisticpca__latent_dim": [1, 2, 4]}, cv=3).fit(x)
    assert search.best_params_ == {"probabilisticpca__latent_dim": 2}
    assert search.best_estimator_.inverse_transform(search.transform(x)).shape == x.shape


@pytest.mark.slow
def test_options_of_a_network_are_searched_like_parameters(x):
    grid = {"options": [{"beta": 1.0}, {"beta": 30.0}], "latent_dim": np.array([2])}
    search = GridSearchCV(sk.Autoencoder(**SMALL), grid, cv=2).fit(x)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    chosen = search.best_estimator_
    assert chosen.model_.config.objective.beta == chosen.options["beta"]


def test_frames_come_in_and_go_out(x):
    frame = pd.DataFrame(x, columns=list("abcdef"), index=np.arange(200) + 7)
    model = sk.PCA(2).set_output(transform="pandas").fit(frame)
    codes = model.transform(frame)
    assert list(codes.columns) == ["pca0", "pca1"] == list(model.get_feature_names_out())
    assert codes.index.equals(frame.index)
    assert list(model.feature_names_in_) == list("abcdef") and model.n_features_in_ == 6
    np.testing.assert_array_equal(codes, sk.PCA(2).fit(x).transform(x))
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame[list("bacdef")])


def test_bytes_are_grey_levels_and_other_whole_numbers_are_numbers():
    digits = load_digits().data[:100]
    grey = sk.PCA(2).fit((digits * 15).astype(np.uint8))
    assert grey.model_.config.data.preprocess == "grey" and grey.components_.max() <= 1
    counts = sk.PCA(2).fit((digits > 8).astype(np.int64))  # of which a fold may hold 0 and 1 only
    assert counts.model_.config.data.preprocess == "identity"
    assert counts.transform(digits).shape == (100, 2)


@pytest.mark.slow
def test_rows_that_are_images_take_convolutions_and_come_back_as_rows():
    digits = load_digits().data[:60] / 16
    model = sk.Autoencoder(
        2, hidden=(4,), epochs=1, image_shape=(8, 8), random_state=0,
        options={"encoder": "conv", "decoder": "conv"},
    ).fit(digits)  # fmt: skip
    assert model.model_.setup.dataset.shape == (8, 8, 1)
    assert model.inverse_transform(model.transform(digits)).shape == (60, 64)
    with pytest.raises(ValueError, match="X has 64 features, and image_shape=.* has 63 values"):
        clone(model).set_params(image_shape=(9, 7)).fit(digits)


def test_patience_holds_examples_out(x):
    model = sk.Autoencoder(**SMALL, patience=3, validation_fraction=0.25)
    splits = model._data(x).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 150, "valid": 50}
    whole = np.concatenate([split.x for split in splits.values()])
    np.testing.assert_array_equal(np.sort(whole, axis=0), np.sort(x.astype(np.float32), axis=0))
    with pytest.raises(ValueError, match="validation_fraction=0.001 of 200 are none or all"):
        model.set_params(validation_fraction=0.001).fit(x)


def test_missing_values_are_for_the_objective_that_takes_them(x):
    holes = np.where(np.random.default_rng(0).random(x.shape) < 0.1, np.nan, x)
    with pytest.raises(ValueError, match="contains NaN"):
        sk.Autoencoder(**SMALL).fit(holes)
    assert get_tags(sk.Autoencoder(objective="masked_reconstruction")).input_tags.allow_nan


@pytest.mark.slow
def test_an_autoencoder_of_missing_values(x):
    holes = np.where(np.random.default_rng(0).random(x.shape) < 0.1, np.nan, x)
    masked = sk.Autoencoder(**SMALL | {"epochs": 1}, objective="masked_reconstruction").fit(holes)
    assert np.isfinite(masked.transform(holes)).all()


def test_what_is_refused_is_a_value_error_with_the_sentence_of_the_library(x):
    for model, sentence in (
        (sk.PCA(7), "latent_dim=7 is more than 200 examples of 6 dimensions have components, 6"),
        (sk.PCA(solver="QR"), "codec.solver: input should be 'auto', 'svd', 'gram'"),
        (sk.Autoencoder(objective="elob"), "unknown objective 'elob': did you mean 'elbo'"),
        (sk.Autoencoder(options={"epochs": 3}), "epochs is a parameter of its own"),
        (sk.Autoencoder(options={"train__batch_size": 3}), "train__batch_size is a parameter of"),
        (sk.Autoencoder(options={"train__seed": 3}), "train__seed is no part of options"),
        (sk.Autoencoder(options={"y": [1]}), "y is no part of options"),
        (sk.Autoencoder(options={3: 4}), "3 is no name"),
        (sk.Autoencoder(image_shape=6.5), "image_shape is of positive whole numbers, not 6.5"),
        (sk.Autoencoder(image_shape=(-2, -3)), "image_shape is of positive whole numbers"),
        (sk.Autoencoder(patience=2, validation_fraction="a"), "validation_fraction=a"),
        (sk.OutlierDetector(contamination="auto"), r"contamination lies in .*, not at 'auto'"),
        (sk.OutlierDetector(StandardScaler()), "one of ae_jax.sklearn, not a StandardScaler"),
        (sk.Autoencoder(options=3), "options are a table of names and values, not 3"),
        (sk.OutlierDetector(contamination=0.7), r"contamination lies in \(0, 0.5\], not at 0.7"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            model.fit(x)
        assert isinstance(caught.value, ae_jax.UserError)
    fitted = sk.PCA(2).fit(x)
    with pytest.raises(sk.InvalidInput, match="codes have shape .*; the model decodes"):
        fitted.inverse_transform(x)


@pytest.mark.filterwarnings("error")
def test_a_detector_of_a_frame_asks_for_no_other_names(x):
    frame = pd.DataFrame(x, columns=list("abcdef"))
    found = sk.OutlierDetector(sk.PCA(2)).fit(frame).predict(frame)
    np.testing.assert_array_equal(found, sk.OutlierDetector(sk.PCA(2)).fit(x).predict(x))


@pytest.mark.slow
def test_a_loss_that_runs_away_is_a_value_error(x):
    with pytest.raises(sk.InvalidInput, match="not finite|scale"):
        sk.Autoencoder(**SMALL, head="gaussian").fit(x * 1e30)


def test_a_fit_that_did_not_converge_says_so(x):
    with pytest.warns(ConvergenceWarning, match="ICA did not converge in 1 iterations"):
        sk.ICA(2, max_iterations=1, tolerance=0.0).fit(x)


def test_outliers_are_those_beyond_the_threshold_of_the_library(x):
    rng = np.random.default_rng(1)
    far = rng.normal(2.0, 3.0, size=(20, 6))
    detector = sk.OutlierDetector(sk.PCA(2), contamination=0.05).fit(x)
    scores = detector.estimator_.model_.score(x)  # ours: the higher, the more anomalous
    np.testing.assert_array_equal(detector.score_samples(x), -scores.astype(np.float64))
    assert (detector.predict(x) == -1).sum() == 10  # of 200
    expected = outliers(scores, threshold_at(scores, 0.05))
    np.testing.assert_array_equal(detector.predict(x), 1 - 2 * expected)
    np.testing.assert_array_equal(detector.decision_function(x) < 0, expected.astype(bool))
    assert (detector.predict(far) == -1).all()
    search = GridSearchCV(
        sk.OutlierDetector(sk.PCA()), {"estimator__latent_dim": [1, 2]}, cv=2,
        scoring=lambda model, x, y=None: model.score_samples(x).mean(),
    ).fit(x)  # fmt: skip
    assert search.best_params_ == {"estimator__latent_dim": 2}


@pytest.mark.slow
def test_the_random_state_of_a_detector_is_that_of_its_estimator(x):
    own = sk.KMeans(3, random_state=4)
    assert sk.OutlierDetector(own).fit(x).estimator_.random_state == 4
    detector = sk.OutlierDetector(own, random_state=7).fit(x)
    assert detector.estimator_.random_state == 7 and own.random_state == 4
    alone = sk.OutlierDetector(sk.KMeans(3, random_state=7)).fit(x)
    np.testing.assert_array_equal(detector.score_samples(x), alone.score_samples(x))


def test_an_outlier_has_a_low_density_too(x):
    detector = sk.OutlierDetector(sk.ProbabilisticPCA(2), kind="log_likelihood").fit(x)
    exact = detector.estimator_.score(x)
    np.testing.assert_allclose(detector.score_samples(x).mean(), exact, rtol=1e-6)
