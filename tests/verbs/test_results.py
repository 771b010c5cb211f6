import json
from types import SimpleNamespace

import numpy as np
import pytest

from headclust import ensemble, load_features, runs, trials, verbs
from headclust.errors import ConflictError, DataError, SettingError
from headclust.methods import METHODS
from headclust.probes import probe
from verbs.conftest import read_config, read_metrics, rows


@pytest.mark.parametrize("method", METHODS)
def test_predict_says_what_the_fit_said(fit, blob_file, here, method):
    run = fit(blob_file, method=method)
    csv_file = verbs.predict(run, features=[blob_file], output=here / "p.csv")
    assert csv_file.read_bytes() == (run / "assignments.csv").read_bytes()


def test_predict_other_samples(fit, blob_file, test_file):
    run = fit(blob_file)
    csv_file = verbs.predict(run, features=[test_file])
    assert csv_file == run / "predicted" / "blobs-test-gauss.csv"
    assigned = trials.assign(runs.read_run(run).model, [load_features(test_file)])
    assert [row["sample_id"] for row in rows(csv_file)] == [f"t{i}" for i in range(60)]
    assert [int(row["cluster"]) for row in rows(csv_file)] == assigned.clusters.tolist()


def test_predict_wants_features_or_images(fit, blob_file):
    run = fit(blob_file, method="kmeans")
    for given in ({}, {"features": [blob_file], "data": "digits"}):
        with pytest.raises(SettingError, match="either feature files"):
            verbs.predict(run, **given)


@pytest.mark.parametrize(
    ("own_size", "image_size", "preset"),
    [([224, 224], 96, None), ([96, 96], None, None), ([48, 48], None, "temi-paper")],
)
def test_images_are_embedded_as_the_runs_were(fit, write, blobs, monkeypatch, own_size, image_size, preset):
    preprocessing = {"input_size": [96, 96], "own_size": own_size, **({"preset": preset} if preset else {})}
    described = {"attributes": {"preprocessing": preprocessing, "batch_size": 17, "precision": "float32"}}
    seen = {}

    def load(name, **options):
        seen.update(options, name=name)
        return "backbone"

    def embed(images, backbone, path, **options):
        seen.update(options, images=images, backbone=backbone, path=path)
        return write("new.h5", blobs.features[:5], **described)

    run = fit(write("own.h5", blobs.features, blobs.labels, **described))
    photos = SimpleNamespace(dataset="my photos", split="val", source="/my photos")
    monkeypatch.setattr("headclust.verbs.results.load_backbone", load)
    monkeypatch.setattr("headclust.verbs.results.embed_images", embed)
    monkeypatch.setattr("headclust.verbs.results.open_source", lambda *_, **__: photos)
    assert len(rows(verbs.predict(run, data="photos", split="val", offline=True, on_error="skip"))) == 5
    assert seen == {
        "name": "gauss",
        "weights": None,
        "image_size": image_size,
        "offline": True,
        "preset": preset,
        "dataset": "blobs",
        "images": photos,
        "backbone": "backbone",
        "path": run / "predicted" / "my-photos-val.h5",
        "batch_size": 17,
        "dtype": "float32",
        "precision": "float32",
        "device": None,
        "on_error": "skip",
    }


def test_another_source_of_the_same_name_replaces_nothing(fit, write, blobs, monkeypatch):
    # Once the second replaced the first without a word.
    described = {"attributes": {"preprocessing": {"input_size": [8, 8], "own_size": [8, 8]}, "batch_size": 17}}
    run = fit(write("own.h5", blobs.features, blobs.labels, **described))
    monkeypatch.setattr("headclust.verbs.results.load_backbone", lambda *_, **__: None)

    def embed(images, backbone, path, overwrite=False, **options):
        if path.exists() and not overwrite:
            raise ConflictError("made with other settings")
        attributes = {**described["attributes"], "source": images.source}
        return write(path, blobs.features[:5], attributes=attributes, overwrite=overwrite)

    def predict(source):
        photos = SimpleNamespace(dataset="photos", split="all", source=source)
        monkeypatch.setattr("headclust.verbs.results.open_source", lambda *_, **__: photos)
        return verbs.predict(run, data=source).name

    (run / "predicted").mkdir()
    monkeypatch.setattr("headclust.verbs.results.embed_images", embed)
    assert [predict(source) for source in ("/a/photos", "/b/photos", "/a/photos", "/b/photos", "/c/photos")] == [
        "photos-all.csv",
        "photos-all-2.csv",
        "photos-all.csv",
        "photos-all-2.csv",
        "photos-all-3.csv",
    ]


def test_images_for_a_run_on_imported_features(fit, blob_file):
    with pytest.raises(SettingError, match="fitted on imported features"):
        verbs.predict(fit(blob_file, method="kmeans"), data="digits")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.ones((3, 5), np.float32)}, "its feature_dim is 5, the fit's was 12"),
        ({"backbone": "other"}, "its backbone is other, the fit's was gauss"),
    ],
)
def test_features_of_another_space(fit, write, blobs, blob_file, change, message):
    described = {"features": blobs.features[:3], **change}
    other = write("other.h5", described.pop("features"), **described)
    run = fit(blob_file, method="kmeans")
    for ask in (
        lambda: verbs.predict(run, features=[other]),
        lambda: verbs.evaluate(run, features=[other]),
        lambda: fit(blob_file, method="kmeans", evaluate_on=[other], output="second"),
    ):
        with pytest.raises(DataError, match=message):
            ask()
    assert not run.with_name("second").exists()


def test_nan_is_refused_everywhere(fit, blob_file, nan_file):
    run = fit(blob_file, method="kmeans")
    for ask in (
        lambda: fit(nan_file, output="second"),
        lambda: verbs.predict(run, features=[nan_file]),
        lambda: verbs.evaluate(run, features=[nan_file]),
    ):
        with pytest.raises(DataError, match=r"nan\.h5: image-17\.png: its features hold NaN"):
            ask()
    assert not run.with_name("second").exists()


def test_evaluate_as_fitted(fit, blob_file, test_file):
    run = fit(blob_file, evaluate_on=[test_file])
    assert verbs.evaluate(run) == read_metrics(run)


def test_probes_need_other_features(fit, blob_file):
    # Once trained and tested on the same rows.
    with pytest.raises(SettingError, match="--features"):
        verbs.evaluate(fit(blob_file), probes=True)


def test_evaluate_with_probes(fit, blob_file, test_file):
    run = fit(blob_file, method="kmeans")
    report = verbs.evaluate(run, features=[test_file], probes=True)
    assert report["probes"] == probe(load_features(blob_file), load_features(test_file))
    assert "probes" not in read_metrics(run)


def test_assign_scores_the_chosen_head(fit, blob_file, test_file):
    model, features = runs.read_run(fit(blob_file)).model, load_features(test_file)
    assigned = trials.assign(model, [features])
    heads = model.probs(features.all()).argmax(-1).numpy()
    wanted = ensemble.summarize(heads, heads[model.speaking[0]], 4, seconds=0, labels=features.labels)
    assert {**assigned.report, "seconds": 0} == wanted
    assert np.array_equal(assigned.clusters, heads[model.speaking[0]])


def test_info_of_a_file_and_of_a_run(fit, blob_file):
    described = verbs.info(blob_file)
    assert (described["n_samples"], described["feature_dim"], described["n_labelled"]) == (120, 12, 120)
    assert described["dataset"] == "blobs"
    run = fit(blob_file, method="kmeans")
    assert verbs.info(run) == {**read_config(run), "metrics": read_metrics(run)}
    json.dumps(described)


def test_verify_names_what_does_not_hold(blob_file, nan_file):
    assert verbs.verify(blob_file) == []
    assert any("image-17.png" in problem for problem in verbs.verify(nan_file))
