import csv
import dataclasses
import inspect
import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_blobs

from headclust import ensemble, load_features, metrics, runs, verbs
from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError, SettingError
from headclust.methods import METHODS, PRESETS, settings
from headclust.neighbors import NeighborGraph
from headclust.probes import probe

SIZES = {"n_samples", "n_clusters", "clusters_used", "largest_share", "entropy", "agreement", "seconds"}
SCORES = {"accuracy", "nmi", "ami", "ari"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fit(quick, here):
    def fit_quickly(*paths, method="temi", output="run", **options):
        changes = dict(quick) if method == "temi" else {}
        options["changes"] = {**changes, **options.pop("changes", {})}
        return verbs.fit(paths, method=method, output=here / output, **options)

    return fit_quickly


@pytest.fixture
def test_file(write):
    features, labels = make_blobs(60, seed=1)
    return write("test.h5", features, labels, attributes={"split": "test"}, sample_ids=[f"t{i}" for i in range(60)])


def results(run):
    """What has to be the same bytes: the model and the assignments."""
    return (run / "model.safetensors").read_bytes(), (run / "assignments.csv").read_bytes()


def read_metrics(run):
    return json.loads((run / "metrics.json").read_text())


def read_config(run):
    return json.loads((run / "config.json").read_text())


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_the_same_bytes(fit, blob_file, method):
    first, second, other = (
        fit(blob_file, method=method, output=f"run{i}", seed=seed) for i, seed in enumerate((5, 5, 6))
    )
    assert results(first) == results(second)
    assert (first / "history.jsonl").read_bytes() == (second / "history.jsonl").read_bytes()
    assert results(first)[0] != results(other)[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", ["shuffled", "deleted", "unknown"])
def test_labels_change_nothing(fit, write, blobs, blob_file, method, labels):
    other = {
        "shuffled": np.random.default_rng(0).permutation(blobs.labels),
        "deleted": None,
        "unknown": np.full(120, -1),
    }[labels]
    first = fit(blob_file, method=method, clusters=4)
    second = fit(write("other.h5", blobs.features, other), method=method, clusters=4, output="second")
    assert results(first) == results(second)
    assert set(read_metrics(first)) >= SCORES
    assert (set(read_metrics(second)) >= SCORES) == (labels == "shuffled")


@pytest.mark.parametrize("method", METHODS)
def test_methods_never_see_labels(fit, blob_file, monkeypatch, method):
    seen = []
    real = METHODS[method]

    def spy(spaces, *arguments, **options):
        seen.extend(space.labels for space in spaces)
        return real(spaces, *arguments, **options)

    monkeypatch.setitem(METHODS, method, spy)
    fit(blob_file, method=method)
    assert seen == [None]


@pytest.mark.parametrize("method", METHODS)
def test_a_config_repeats_its_run(fit, blob_file, here, method):
    changes = {"beta": "0.8", "n_neighbors": "9"} if method == "temi" else {"normalize": "none"}
    first = fit(blob_file, method=method, seed=7, heads=4, clusters=5, changes=changes)
    for config in (first, first / "config.json"):
        again = verbs.fit(config=config, output=here / "again", overwrite=True)
        assert results(again) == results(first)
        assert read_config(again) == read_config(first)
        assert {**read_metrics(again), "seconds": 0} == {**read_metrics(first), "seconds": 0}


def test_a_repeated_config_can_be_overridden(fit, write, blobs, blob_file, here):
    first = fit(blob_file, seed=7, heads=4, clusters=5, changes={"beta": "0.8"})
    other = write("other.h5", blobs.features[:50])
    again = verbs.fit(
        [other], config=first, seed=8, heads=2, clusters=3, changes={"beta": "0.9"}, output=here / "again"
    )
    before, after = read_config(first), read_config(again)
    changed = {name for name in before["settings"] if before["settings"][name] != after["settings"][name]}
    assert changed == {"beta", "n_heads", "n_clusters"}
    assert (after["seed"], after["features"][0]["n_samples"]) == (8, 50)
    assert [after["settings"][name] for name in ("beta", "n_heads", "n_clusters")] == [0.9, 2, 3]


@pytest.mark.parametrize("option", [{"method": "kmeans"}, {"preset": "authors"}])
def test_a_config_says_its_method_itself(fit, blob_file, here, option):
    # Once the option was passed over in silence.
    first = fit(blob_file)
    with pytest.raises(SettingError, match="a configuration says which method and preset"):
        verbs.fit(config=first, output=here / "again", **option)


def test_a_repeated_config_finds_its_features_or_says_so(fit, write, blobs, blob_file, here):
    first = fit(blob_file)
    write("blobs.h5", blobs.features * 2, blobs.labels, overwrite=True)
    with pytest.raises(FileFormatError, match="has changed since the run was made"):
        verbs.fit(config=first, output=here / "again")
    blob_file.unlink()
    with pytest.raises(HeadclustError, match="no such file"):
        verbs.fit(config=first, output=here / "again")
    assert not (here / "again").exists()


def test_what_a_run_records(fit, blob_file, blobs):
    run = fit(blob_file, seed=3, changes={"beta": 0.7})
    config = read_config(run)
    assert {name: config[name] for name in ("format", "method", "preset", "seed")} == {
        "format": "headclust-run",
        "method": "temi",
        "preset": "ours",
        "seed": 3,
    }
    assert set(config["settings"]) == {setting.name for setting in settings(PRESETS["temi"]["ours"])}
    assert (config["settings"]["beta"], config["settings"]["n_clusters"]) == (0.7, 4)
    (stage,) = config["recipe"]
    assert (stage["objective_settings"]["beta"], stage["n_clusters"], stage["length"]) == (0.7, 4, 30)
    assert config["features"][0]["sha256"] == load_features(blob_file).sha256
    assert {"headclust", "python", "torch", "faiss-cpu"} <= set(config["versions"])
    assert config["device"] == "cpu"
    assert config["threads"] >= 1
    found = rows(run / "assignments.csv")
    assert [row["sample_id"] for row in found] == [f"image-{row}.png" for row in range(120)]
    clusters = np.array([int(row["cluster"]) for row in found])
    report = read_metrics(run)
    assert set(report) - {"accuracy_majority"} == SIZES | SCORES
    assert {name: report[name] for name in SCORES} == {
        name: metrics.METRICS[name](clusters, blobs.labels) for name in SCORES
    }
    assert {**report, **metrics.describe(clusters, 4)} == report
    assert 0 < report["agreement"] <= 1
    assert len((run / "history.jsonl").read_text().splitlines()) == 10


def test_metrics_without_labels(fit, write, blobs):
    run = fit(write("plain.h5", blobs.features), clusters=3, heads=1)
    report = read_metrics(run)
    assert set(report) == SIZES
    assert report["agreement"] is None


def test_scores_on_other_samples(fit, blob_file, test_file):
    run = fit(blob_file, evaluate_on=[test_file])
    report = read_metrics(run)["eval"]
    assert set(report) - {"accuracy_majority"} == SIZES | SCORES
    assert report["n_samples"] == 60
    again = verbs.evaluate(run, features=[test_file])
    assert {**again, "seconds": 0} == {**report, "seconds": 0}


@pytest.mark.parametrize(("labels", "wanted"), [([0, 1, 5] * 40, 3), ([-1, 2, 3] * 40, 2)])
def test_clusters_default_to_the_labelled_classes(fit, write, blobs, labels, wanted):
    run = fit(write("some.h5", blobs.features, np.array(labels)), method="kmeans")
    assert read_metrics(run)["n_clusters"] == wanted


@pytest.mark.parametrize("labels", [None, np.full(120, -1)])
def test_clusters_are_asked_for_without_labels(fit, write, blobs, here, labels):
    with pytest.raises(SettingError, match="say how many clusters with --clusters K"):
        fit(write("plain.h5", blobs.features, labels))
    assert not (here / "run").exists()


@pytest.mark.parametrize("clusters", [121, 10**9])
def test_more_clusters_than_samples(fit, blob_file, clusters):
    with pytest.raises(SettingError, match=f"{clusters} clusters asked of 120 samples: wanted at most 120"):
        fit(blob_file, clusters=clusters)


def test_neighbors_are_cut_by_default_but_not_when_asked_for(fit, write, blobs, monkeypatch):
    path, asked = write("few.h5", blobs.features[:9]), []
    real = METHODS["temi"].__globals__["cached_neighbors"]

    def spy(space, k, **options) -> NeighborGraph:
        asked.append(k)
        return real(space, k, **options)

    monkeypatch.setitem(METHODS["temi"].__globals__, "cached_neighbors", spy)
    fit(path, clusters=2)
    run = fit(path, clusters=2, changes={"n_neighbors": "8"}, output="eight")
    assert asked == [8, 8]
    for n_neighbors in ("9", 50):
        with pytest.raises(SettingError, match=f"n_neighbors is {n_neighbors}, of 9 samples: wanted at most 8"):
            fit(path, clusters=2, changes={"n_neighbors": n_neighbors}, output="nine")
    verbs.fit(config=run, output=run.with_name("again"))


def test_default_places(fit, blob_file, here, quick):
    for wanted in ("blobs-blobs-temi-s0", "blobs-blobs-temi-s0-2"):
        assert verbs.fit([blob_file], changes=quick).name == wanted
    assert verbs.fit([blob_file], method="kmeans", preset="authors", seed=2).name == "blobs-blobs-kmeans-s2-authors"
    assert {path.name for path in (here / "runs").iterdir()} == {
        "blobs-blobs-temi-s0",
        "blobs-blobs-temi-s0-2",
        "blobs-blobs-kmeans-s2-authors",
    }


def test_names_made_safe_for_files(write, blobs, here):
    path = write("x.h5", blobs.features, blobs.labels, dataset="../../etc/pass wd\n\x1b[2J\udce9")
    run = verbs.fit([path], method="kmeans")
    assert run.parent.resolve() == here / "runs"
    assert run.name == "etc-pass-wd-2J--x-kmeans-s0"


def test_the_newest_features_are_used(fit, write, blobs, here, capsys):
    write("features/some/a.h5", blobs.features, blobs.labels)
    run = fit(method="kmeans")
    assert "using the newest, features/some/a.h5" in capsys.readouterr().err
    assert read_config(run)["features"][0]["path"] == str(here / "features/some/a.h5")


def test_a_run_in_the_way_is_seen_before_time_is_spent(fit, blob_file, monkeypatch):
    before = results(fit(blob_file, method="kmeans"))
    monkeypatch.setitem(METHODS, "kmeans", lambda *_, **__: pytest.fail("fitted all the same"))
    with pytest.raises(ConflictError, match="--overwrite"):
        fit(blob_file, method="kmeans")
    assert results(blob_file.parent / "run") == before


def test_overwrite_replaces_a_run(fit, blob_file):
    fit(blob_file, method="kmeans")
    run = fit(blob_file, method="kmeans", seed=1, overwrite=True)
    assert read_config(run)["seed"] == 1


@pytest.mark.parametrize(
    ("report", "warnings"),
    [
        ({"clusters_used": 4, "n_clusters": 4, "largest_share": 0.3}, []),
        ({"clusters_used": 3, "n_clusters": 4, "largest_share": 0.74}, ["only 3 of 4 clusters are used"]),
        ({"clusters_used": 10, "n_clusters": 10, "largest_share": 0.31}, ["one cluster holds 31% of the samples"]),
    ],
)
def test_a_collapse_is_told(capsys, report, warnings):
    verbs._warn_of_collapse(report)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(warnings)
    assert all(line.startswith(f"warning: {wanted}") for line, wanted in zip(lines, warnings, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_predict_says_what_the_fit_said(fit, blob_file, here, method):
    run = fit(blob_file, method=method)
    csv_file = verbs.predict(run, features=[blob_file], output=here / "p.csv")
    assert csv_file.read_bytes() == (run / "assignments.csv").read_bytes()


def test_predict_other_samples(fit, blob_file, test_file):
    run = fit(blob_file)
    csv_file = verbs.predict(run, features=[test_file])
    assert csv_file == run / "predicted" / "blobs-test-gauss.csv"
    assigned = verbs.assign(runs.read_run(run).model, load_features(test_file))
    assert [row["sample_id"] for row in rows(csv_file)] == [f"t{i}" for i in range(60)]
    assert [int(row["cluster"]) for row in rows(csv_file)] == assigned.clusters.tolist()


def test_predict_wants_features_or_images(fit, blob_file):
    run = fit(blob_file, method="kmeans")
    for given in ({}, {"features": [blob_file], "data": "digits"}):
        with pytest.raises(SettingError, match="either feature files"):
            verbs.predict(run, **given)


@pytest.mark.parametrize(("own_size", "image_size"), [([224, 224], 96), ([96, 96], None)])
def test_images_are_embedded_as_the_runs_were(fit, write, blobs, monkeypatch, own_size, image_size):
    preprocessing = {"input_size": [96, 96], "own_size": own_size}
    described = {"attributes": {"preprocessing": preprocessing, "batch_size": 17}}
    seen = []

    def embed(model, data, **options):
        seen.append((model, data, options))
        return write("new.h5", blobs.features[:5], **described)

    run = fit(write("own.h5", blobs.features, blobs.labels, **described))
    monkeypatch.setattr(verbs, "embed", embed)
    monkeypatch.setattr(verbs, "open_source", lambda data, split: SimpleNamespace(dataset="my photos", split=split))
    assert len(rows(verbs.predict(run, data="photos", split="val", offline=True, on_error="skip"))) == 5
    ((model, data, options),) = seen
    assert (model, data) == ("gauss", "photos")
    assert options == {
        "split": "val",
        "image_size": image_size,
        "batch_size": 17,
        "dtype": "float32",
        "output": run / "predicted" / "my-photos-val.h5",
        "device": None,
        "weights": None,
        "on_error": "skip",
        "offline": True,
    }


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
    assigned = verbs.assign(model, features)
    heads = model.probs(features.all()).argmax(-1).numpy()
    wanted = ensemble.summarize(heads, model.chosen, 4, seconds=0, labels=features.labels)
    assert {**assigned.report, "seconds": 0} == wanted
    assert np.array_equal(assigned.clusters, heads[model.chosen])


def test_import_array(here, blobs):
    np.save("my data.npy", blobs.features)
    (here / "ids.txt").write_bytes(b"".join(b"caf\xe9-%d\n" % row for row in range(120)))
    (here / "labels.txt").write_text("\n".join(map(str, blobs.labels)))
    path = verbs.import_array(here / "my data.npy", ids=here / "ids.txt", labels=here / "labels.txt", backbone="a/b")
    assert path.as_posix() == "features/my-data-all/a-b.h5"
    features = load_features(path)
    assert np.array_equal(features.all().numpy(), blobs.features)
    assert features.sample_ids[3] == "caf\udce9-3"
    assert features.labels.tolist() == blobs.labels.tolist()
    assert (features.attributes["dataset"], features.attributes["backbone"]) == ("my data", "a/b")
    assert verbs.verify(path) == []


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 2), np.nan), "0: its features hold NaN or infinity"),
        (np.full((3, 2), np.inf), "0: its features hold NaN or infinity"),
        (np.zeros((0, 4)), "features are float64 of shape"),
        (np.zeros((3, 2, 2)), "features are float64 of shape"),
        (np.float32(3), r"features are float32 of shape \(\)"),  # once a TypeError
        (np.array(["a", "b"]), "features are <U1"),
    ],
)
def test_arrays_that_are_no_features(here, array, message):
    np.save("x.npy", array)
    with pytest.raises(HeadclustError, match=message):
        verbs.import_array(here / "x.npy")
    assert list(here.rglob("*.h5")) == []


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


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "m.h5"),
        ({"image_size": 128}, "m-128px.h5"),
        ({"limit": 7, "seed": 2}, "m-n7-s2.h5"),
        ({"dtype": "float16"}, "m-float16.h5"),
    ],
)
def test_default_places_of_features(monkeypatch, options, name):
    images = SimpleNamespace(dataset="my set", split="train", subset=lambda limit, seed: images)
    monkeypatch.setattr(verbs, "open_source", lambda data, split: images)
    monkeypatch.setattr(verbs, "load_backbone", lambda *_, **__: None)
    monkeypatch.setattr(verbs, "embed_images", lambda images, backbone, path, **_: path)
    assert verbs.embed("m", "somewhere", **options).as_posix() == f"features/my-set-train/{name}"


def test_the_model_and_the_place_are_a_verbs_own(fit):
    # Every option of a verb is documented.
    for verb in (verbs.embed, verbs.fit, verbs.predict, verbs.evaluate, verbs.import_array):
        documented = inspect.getdoc(verb)
        assert all(f"{name}:" in documented for name in inspect.signature(verb).parameters), verb


def test_stages_hold_nothing_but_settings():
    # What is not a setting would be lost by `fit --config`.
    for presets in PRESETS.values():
        for recipe in presets.values():
            for stage in recipe:
                names = {field.name for field in dataclasses.fields(stage)} - {"objective_settings"}
                assert names <= {setting.name for setting in settings(recipe)}
