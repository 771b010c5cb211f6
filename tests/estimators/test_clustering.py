import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import make_blobs, put_nan, short
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headclust import Features, HeadClustering, HeadclustError, load_features, runs, verbs
from headclust.estimators import InputError

KINDS = ["consensus", "temi", "kmeans", "spectral"]


def quick(method="kmeans", **options) -> HeadClustering:
    """A fit of a tenth of a second."""
    return HeadClustering(**{"n_clusters": 4, "method": method, "device": "cpu", "settings": short(method), **options})


def wide(blobs) -> np.ndarray:
    return blobs.features.astype(np.float64)


@pytest.mark.parametrize("method", KINDS)
def test_the_numbers_are_those_of_fit(blob_file, blobs, tmp_path, method):
    run = verbs.fit(
        [blob_file], method=method, clusters=4, changes=short(method), seed=3, device="cpu", output=tmp_path / "run"
    )
    fitted = quick(method, random_state=3).fit(blobs.features)
    expected = runs.read_run(run).model.tensors()
    found = fitted.model_.tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    lines = (run / "assignments.csv").read_text().splitlines()[1:]
    ids = load_features(blob_file).sample_ids
    assert lines == [f"{n},{c},{s:.6f}" for n, c, s in zip(ids, fitted.labels_, fitted.confidence_, strict=True)]


@pytest.mark.parametrize("method", KINDS)
def test_a_fit_says_the_same_of_its_own_samples_again(blobs, method):
    fitted = quick(method).fit(blobs.features)
    probs = fitted.predict_proba(blobs.features)
    assert np.array_equal(fitted.predict(blobs.features), fitted.labels_)
    assert np.array_equal(probs.argmax(1), fitted.labels_)
    assert np.array_equal(probs.max(1), fitted.confidence_)
    assert np.allclose(probs.sum(1), 1, atol=1e-5)
    assert np.array_equal(fitted.transform(blobs.features), probs)
    assert (probs.shape, probs.dtype, fitted.labels_.dtype) == ((120, 4), np.float32, np.int64)


def test_the_groups_are_found(blobs):
    for method in ("consensus", "kmeans", "spectral"):  # half a minute would do it for TEMI, too
        assert adjusted_rand_score(quick(method).fit_predict(blobs.features), blobs.labels) > 0.9


@pytest.mark.parametrize(
    "same",
    [
        lambda x: x.astype(np.float64),
        lambda x: torch.from_numpy(x.copy()),
        lambda x: torch.from_numpy(x.copy()).double().requires_grad_(),
        lambda x: x.tolist(),
        lambda x: np.asfortranarray(x),
        lambda x: Features.from_array(x),
    ],
    ids=["float64", "tensor", "tensor with gradient", "list", "fortran", "features"],
)
def test_what_x_may_be(blobs, same):
    expected = quick().fit(blobs.features)
    fitted = quick().fit(same(blobs.features))
    assert np.array_equal(fitted.labels_, expected.labels_)
    assert np.array_equal(fitted.confidence_, expected.confidence_)
    assert np.array_equal(expected.predict_proba(same(blobs.features)), expected.predict_proba(blobs.features))
    assert fitted.n_features_in_ == 12


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16, torch.bfloat16, torch.int64])
def test_other_types_of_numbers(blobs, dtype):
    whole = np.abs(np.rint(blobs.features * 8)).clip(0, 127)
    other = torch.tensor(whole).to(dtype) if isinstance(dtype, torch.dtype) else whole.astype(dtype)
    assert np.array_equal(quick().fit_predict(other), quick().fit_predict(whole))


def test_feature_files_are_taken_as_paths_and_as_loaded(blob_file, blobs):
    expected = quick().fit(blobs.features)
    for x in (blob_file, str(blob_file), load_features(blob_file)):
        fitted = quick().fit(x)
        assert np.array_equal(fitted.labels_, expected.labels_)
        assert np.array_equal(fitted.predict(x), expected.labels_)
        assert np.array_equal(expected.predict(x), expected.labels_)
        assert np.array_equal(fitted.predict(blobs.features), expected.labels_)


def test_cached_views_are_used(write, blobs):
    noise = np.random.default_rng(0).normal(size=(2, *blobs.features.shape)).astype(np.float32)
    views = blobs.features + noise * np.linspace(0, 9, 12, dtype=np.float32)
    with_views = write("views.h5", blobs.features, views=views)
    plain, seen = (quick("consensus").fit(x).model_.tensors() for x in (blobs.features, with_views))
    assert not torch.equal(plain["transforms.0.matrix"], seen["transforms.0.matrix"])


def test_labels_are_never_looked_at(write, blobs):
    features = blobs.features
    expected = quick("consensus").fit(features)
    labelled = write("labelled.h5", features, np.zeros(120, int))
    for fitted in (quick("consensus").fit(labelled), quick("consensus").fit(features, blobs.labels)):
        assert np.array_equal(fitted.labels_, expected.labels_)
        assert fitted.report_.keys() == expected.report_.keys()
        assert "accuracy" not in fitted.report_


def test_it_is_refused_where_the_number_of_clusters_would_come_from_labels(blob_file):
    with pytest.raises(ValueError, match="n_clusters is 0: expected a whole number, 1 or more"):
        quick(n_clusters=0).fit(blob_file)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"n_clusters": 2.5}, "n_clusters is 2.5: expected a whole number"),
        ({"n_clusters": "3"}, "n_clusters is '3'"),
        ({"n_clusters": 121}, "121 clusters of 120 samples"),
        ({"n_heads": 0}, "n_heads is 0"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": "x"}, "random_state is 'x'"),
        ({"method": "means"}, "unknown method 'means'"),
        ({"preset": "theirs"}, "unknown preset 'theirs'"),
        ({"settings": {"betta": 1}}, "unknown setting 'betta'"),
        ({"settings": {"max_iter": "many"}}, "max_iter is 'many'"),
        ({"device": "abacus"}, "unknown device 'abacus'"),
        ({"method": 3}, "method is 3: expected a name"),
        ({"method": None}, "method is None"),
        ({"preset": []}, r"preset is \[\]: expected a name"),
        ({"device": 3}, "device is 3"),
        ({"settings": "abc"}, "settings is 'abc': expected a mapping"),
        ({"settings": ["a"]}, "settings is"),
        ({"settings": {1: 1}}, "a name in settings is 1: expected a text"),
        ({"settings": {"n_clusters": 5}}, "n_clusters is 4, and 5 in settings: give it once"),
        ({"n_heads": 2, "settings": {"n_heads": 3}}, "n_heads is 2, and 3 in settings"),
        ({"method": "consensus", "settings": {"n_neighbors": 120}}, "n_neighbors is 120, of 120 samples"),
    ],
)
def test_parameters_that_cannot_be(blobs, options, line):
    with pytest.raises(ValueError, match=line) as caught:
        HeadClustering(**{"n_clusters": 4, "method": "kmeans", **options}).fit(blobs.features)
    assert isinstance(caught.value, HeadclustError)
    assert "\n" not in str(caught.value)


def test_sparse_input_is_refused(blobs):
    with pytest.raises(TypeError, match="Sparse data was passed"):
        quick().fit(sparse.csr_matrix(blobs.features))
    with pytest.raises(InputError, match="sparse tensor: expected a dense one"):
        quick().fit(torch.from_numpy(blobs.features.copy()).to_sparse())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_told_as_scikit_learn_does(blobs, bad):
    x = wide(blobs)
    x[5, 2] = bad
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        quick().fit(x)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        quick().fit(blobs.features).predict(x)


@pytest.mark.parametrize(("scale", "line"), [(1e300, "ends at 3.4e.38: found .*Divide"), (1e-300, "Multiply all")])
def test_values_that_float32_cannot_hold(blobs, scale, line):
    x = wide(blobs) * scale
    for call in (quick().fit, quick().fit(blobs.features).predict):
        with pytest.raises(InputError, match=line):
            call(x)


UNUSABLE = {
    "NaN": lambda x: np.where(np.arange(12) == 3, np.nan, x),
    "one row as a vector": lambda x: x[0],
    "a cube": lambda x: x[None],
    "a number": lambda x: 3.0,
    "none": lambda x: None,
    "no rows": lambda x: x[:0],
    "no columns": lambda x: x[:, :0],
    "other columns": lambda x: x[:, :5],
    "texts": lambda x: np.full(x.shape, "red"),
    "objects": lambda x: np.full(x.shape, {}),
    "complex": lambda x: x * 1j,
    "dates": lambda x: np.full(x.shape, np.datetime64("2020-01-01")),
    "ragged": lambda x: [[1.0, 2.0], [3.0]],
    "sparse": lambda x: sparse.csr_matrix(x),
    "a set": lambda x: {1, 2},
}


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("method", ["fit", "fit_predict", "predict", "predict_proba", "transform"])
def test_every_error_is_one_line_and_a_value_error_of_headclust(blobs, case, method):
    estimator = quick()
    if method not in ("fit", "fit_predict"):
        estimator.fit(blobs.features)
    elif case == "other columns":
        return
    with pytest.raises(InputError) as caught:
        getattr(estimator, method)(UNUSABLE[case](blobs.features))
    assert isinstance(caught.value, HeadclustError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_before_a_fit_the_error_is_one_line_too(blobs):
    with pytest.raises(NotFittedError, match="not fitted yet") as caught:
        quick().predict(blobs.features)
    assert isinstance(caught.value, InputError)


def test_a_training_that_diverges_is_a_value_error(blobs):
    estimator = HeadClustering(4, method="temi", n_heads=2, settings={"lr": 1e30, "length": 3, "warmup": 0})
    with pytest.raises(InputError, match="lower lr"):
        estimator.fit(blobs.features)


def test_a_file_of_values_that_are_not_finite_is_refused(nan_file, blobs):
    with pytest.raises(ValueError, match=r"image-17\.png"):
        quick().fit(nan_file)
    with pytest.raises(ValueError, match=r"image-17\.png"):
        quick().fit(load_features(nan_file))
    with pytest.raises(ValueError, match=r"image-17\.png"):
        quick().fit(blobs.features).predict(load_features(nan_file))


def test_files_of_another_backbone_are_refused(blob_file, write, blobs, tmp_path):
    fitted = quick().fit(blob_file)
    other = write("other.h5", blobs.features, backbone="other")
    with pytest.raises(ValueError, match="its backbone is other, the fit's was gauss"):
        fitted.predict(other)
    with pytest.raises(ValueError, match="no such file"):
        fitted.predict(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(ValueError, match="this is not HDF5"):
        quick().fit(tmp_path / "text.h5")


def test_another_number_of_features_is_refused(write, blobs):
    fitted = quick().fit(blobs.features)
    line = "X has 11 features, but HeadClustering is expecting 12 features as input"
    for x in (blobs.features[:, 1:], write("narrow.h5", blobs.features[:, 1:])):
        with pytest.raises(ValueError, match=line):
            fitted.predict(x)


def test_nothing_is_said_before_a_fit(blobs):
    for name in ("predict", "predict_proba", "transform"):
        with pytest.raises(NotFittedError):
            getattr(quick(), name)(blobs.features)


def test_the_seed(blobs):
    x = blobs.features
    one, same, other = (quick("temi", random_state=seed).fit(x) for seed in (5, np.int64(5), 6))
    assert np.array_equal(one.confidence_, same.confidence_)
    assert not np.array_equal(one.confidence_, other.confidence_)
    drawn = [quick("temi", random_state=np.random.RandomState(1)).fit(x) for _ in range(2)]
    assert drawn[0].seed_ == drawn[1].seed_
    assert np.array_equal(drawn[0].confidence_, drawn[1].confidence_)


def test_without_a_seed_each_fit_draws_one_and_says_which(blobs):
    np.random.seed(0)  # noqa: NPY002 - the global generator, which must not be touched
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (quick("consensus", random_state=None).fit(blobs.features) for _ in range(2))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert first.seed_ != second.seed_
    again = quick("consensus", random_state=first.seed_).fit(blobs.features)
    assert np.array_equal(again.confidence_, first.confidence_)


def test_attributes(blobs):
    fitted = quick("temi").fit(blobs.features)
    assert fitted.head_labels_.shape == (3, 120)
    assert fitted.history_
    assert fitted.report_["n_samples"] == 120
    assert list(fitted.get_feature_names_out()) == [f"headclustering{i}" for i in range(4)]


def test_data_frames_keep_their_names(blobs):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(blobs.features, columns=[f"f{i}" for i in range(12)])
    fitted = quick().set_output(transform="pandas").fit(frame)
    assert list(fitted.feature_names_in_) == list(frame.columns)
    assert list(fitted.transform(frame).columns) == [f"headclustering{i}" for i in range(4)]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame.rename(columns={"f0": "g0"}))
    fitted.fit(Features.from_array(blobs.features))
    assert not hasattr(fitted, "feature_names_in_")


def test_in_a_pipeline_and_a_search(blobs):
    pipeline = make_pipeline(StandardScaler(), quick())
    assert adjusted_rand_score(pipeline.fit_predict(blobs.features), blobs.labels) > 0.9
    grid = {"headclustering__n_clusters": [2, 4]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="adjusted_rand_score").fit(blobs.features, blobs.labels)
    assert search.best_params_ == {"headclustering__n_clusters": 4}


@pytest.mark.parametrize("method", KINDS)
def test_copies_say_the_same(blobs, method):
    fitted = quick(method).fit(blobs.features)
    for twin in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert np.array_equal(twin.predict_proba(blobs.features), fitted.predict_proba(blobs.features))
    assert not hasattr(clone(fitted), "labels_")


def test_what_was_fitted_is_not_changed_by_what_is_done_to_x(blobs):
    x = blobs.features.copy()
    fitted = quick().fit(x)
    expected = fitted.predict_proba(blobs.features)
    x[:] = 0
    assert np.array_equal(fitted.predict_proba(blobs.features), expected)


def test_probabilities_do_not_depend_on_blocks(blobs, monkeypatch):
    fitted = quick("consensus").fit(blobs.features)
    expected = fitted.predict_proba(blobs.features)
    monkeypatch.setattr("headclust.model.model._PROBABILITIES", 7)
    assert np.allclose(fitted.predict_proba(blobs.features), expected, atol=1e-6)


def test_collapse_is_told():
    features, _ = make_blobs(60, n_clusters=2, distance=20)
    twice = np.repeat(features[:2], 30, axis=0)
    with pytest.warns(ConvergenceWarning, match="only 2 of 4 clusters are used"):
        quick().fit(twice)
    uneven = np.concatenate([np.repeat(features[:1], 57, axis=0), features[1:4] + np.eye(3, 12, dtype=np.float32) * 9])
    with pytest.warns(ConvergenceWarning, match=r"one cluster holds 9\d\.\d % of the samples"):
        quick().fit(uneven)


def test_a_notebook_shows_the_diagram_and_then_the_results(blobs):
    estimator = quick(settings=None)
    before = estimator._repr_mimebundle_()["text/html"]
    assert "sk-top-container" in before
    assert "mean confidence" not in before
    estimator.fit(blobs.features)
    for shown in (estimator._repr_mimebundle_()["text/html"], estimator._repr_html_()):
        assert "sk-top-container" in shown
        assert "120 samples in 4 of 4 clusters" in shown
    with config_context(display="text"):
        assert not hasattr(estimator, "_repr_html_")
        assert set(estimator._repr_mimebundle_()) == {"text/plain"}


def test_a_broken_file_after_the_fit_is_told(blob_file, blobs):
    fitted = quick().fit(blobs.features)
    put_nan(blob_file, 3)
    with pytest.raises(InputError, match=r"image-3\.png"):
        fitted.predict(blob_file)


def test_labels_of_a_coarser_level(blobs):
    clusterer = HeadClustering(6, method="kmeans").fit(blobs.features)
    coarse = clusterer.cut(4)
    assert len(set(coarse.tolist())) == 4
    assert set(coarse.tolist()) <= set(clusterer.labels_.tolist())
    # Whole clusters join, and the label is that of the largest of them.
    for label in set(coarse.tolist()):
        parts = np.bincount(clusterer.labels_[coarse == label])
        assert parts[label] == parts.max()
    assert clusterer.cut(6).tolist() == clusterer.labels_.tolist()
    with pytest.raises(ValueError, match="level 7: expected 1 to 6"):
        clusterer.cut(7)
