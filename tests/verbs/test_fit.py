import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import short

from headclust import load_features, verbs
from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError, SettingError
from headclust.graph import cached
from headclust.graph.neighbors import NeighborGraph
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import list_settings
from headclust.scoring import metrics
from headclust.training import train, unfinished
from headclust.training.stages import Stage
from verbs.conftest import read_config, read_metrics, rows

SIZES = {"n_samples", "n_clusters", "clusters_used", "largest_share", "entropy", "agreement", "seconds"}
SCORES = {"accuracy", "nmi", "ami", "ari"}


DRAW_NOTHING = {"hdbscan", "ward"}  # the same whatever the seed


def results(run):
    """What has to be the same bytes: the model and the assignments."""
    return (run / "model.safetensors").read_bytes(), (run / "assignments.csv").read_bytes()


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_the_same_bytes(fit, blob_file, method):
    first, second, other = (
        fit(blob_file, method=method, output=f"run{i}", seed=seed) for i, seed in enumerate((5, 5, 6))
    )
    assert results(first) == results(second)
    assert (first / "history.jsonl").read_bytes() == (second / "history.jsonl").read_bytes()
    assert (results(first)[0] != results(other)[0]) == (method not in DRAW_NOTHING)


@pytest.fixture
def steps(monkeypatch):
    """Training steps `done`, a state kept after each; in the step after `stop_after` comes Ctrl-C."""
    counted, real = SimpleNamespace(done=0, stop_after=None), train._update_

    def step(*given, **more):
        counted.done += 1
        losses = real(*given, **more)
        if counted.stop_after is not None and counted.done > counted.stop_after:
            raise KeyboardInterrupt
        return losses

    monkeypatch.setattr(unfinished, "_INTERVAL", 0.0)
    monkeypatch.setattr(train, "_update_", step)
    return counted


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("method", [name for name in METHODS if isinstance(PRESETS[name]["ours"][-1], Stage)])
def test_a_fit_that_was_stopped_goes_on(fit, blob_file, here, steps, method):
    whole = fit(blob_file, method=method, output="whole")
    n_steps = steps.done
    steps.stop_after = n_steps + 7
    with pytest.raises(KeyboardInterrupt):
        fit(blob_file, method=method)
    assert not (here / "run").exists()
    assert (here / "run.partial").is_dir()
    steps.stop_after = None
    run = fit(blob_file, method=method)
    assert results(run) == results(whole)
    assert (run / "history.jsonl").read_bytes() == (whole / "history.jsonl").read_bytes()
    assert steps.done == 2 * n_steps + 1  # only the step that was stopped was done twice
    assert not (here / "run.partial").exists()


def test_a_stopped_fit_goes_on_after_another_one_has_taken_its_name(blob_file, here, steps, capsys):
    changes, steps.stop_after = {**short("temi"), "length": 12}, 5
    with pytest.raises(KeyboardInterrupt):
        verbs.fit([blob_file], method="temi", changes=changes)
    steps.stop_after = None
    other = verbs.fit([blob_file], method="temi", changes={**changes, "lr": 1e-3})
    run = verbs.fit([blob_file], method="temi", changes=changes)
    assert run.name == f"{other.name}-2"
    assert "the training goes on after step 5." in capsys.readouterr().err
    assert [path.name for path in (here / "runs").iterdir() if "partial" in path.name] == []


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
    values = {setting.name: setting.value for setting in list_settings(PRESETS[method]["ours"])}
    heads = 4 if "n_heads" in values else None
    other = {
        "n_neighbors": "9",
        "n_components": "5",
        "beta": "0.8",
        "normalize": "none",
        "self_label.lr": "1e-3",
        "max_iter": "7",
    }
    changes = {name: value for name, value in other.items() if name in values}
    assert changes
    first = fit(blob_file, method=method, seed=7, heads=heads, clusters=5, changes=changes)
    for config in (first, first / "config.json"):
        again = verbs.fit(config=config, output=here / "again", overwrite=True)
        assert results(again) == results(first)
        assert read_config(again) == read_config(first)
        assert {**read_metrics(again), "seconds": 0} == {**read_metrics(first), "seconds": 0}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"clusters": 4, "changes": {"n_clusters": "5"}}, "--clusters is 4, and the setting n_clusters is 5: give one"),
        ({"heads": 2, "changes": {"n_heads": 3}}, "--heads is 2, and the setting n_heads is 3: give one"),
    ],
)
def test_an_option_and_a_setting_that_differ(blob_file, here, options, line):
    with pytest.raises(SettingError, match=line):
        verbs.fit([blob_file], method="kmeans", **options)
    assert not (here / "runs").exists()


def test_an_option_and_a_setting_that_agree(fit, blob_file):
    run = fit(blob_file, method="kmeans", clusters=4, heads=2, changes={"n_clusters": "4", "n_heads": 2})
    assert (read_config(run)["settings"]["n_clusters"], read_config(run)["settings"]["n_heads"]) == (4, 2)


def test_what_a_run_records_is_json(fit, blobs, write):
    def refuse(value):
        raise AssertionError(value)

    for method in ("kmeans", "gmm", "ward", "hdbscan"):
        run = fit(write(f"{method}.h5", blobs.features * np.float32(1e30)), method=method, clusters=4, output=method)
        for file in ("metrics.json", "config.json"):
            json.loads((run / file).read_text(), parse_constant=refuse)
        for line in (run / "history.jsonl").read_text().splitlines():
            json.loads(line, parse_constant=refuse)


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


def test_clusters_and_heads_are_settings_like_any_other(fit, blob_file):
    # Once they were passed over in silence.
    run = fit(blob_file, changes={"n_heads": "2", "n_clusters": "5"})
    settings = read_config(run)["settings"]
    assert (settings["n_heads"], settings["n_clusters"]) == (2, 5)


@pytest.mark.parametrize("option", [{"method": "kmeans"}, {"preset": "authors"}])
def test_a_config_says_its_method_itself(fit, blob_file, here, option):
    # Once the option was passed over in silence.
    first = fit(blob_file)
    with pytest.raises(SettingError, match="a configuration names the method and preset"):
        verbs.fit(config=first, output=here / "again", **option)


def test_a_setting_of_an_earlier_version_is_refused_by_name(fit, blob_file, here):
    config = read_config(fit(blob_file)) | {
        "settings": {"optimizer": "sgd", "sgd_momentum": 0.5, "walls": 3, "guard": True}
    }
    copy = here / "copy.json"
    copy.write_text(json.dumps(config))
    with pytest.raises(SettingError, match=r"copy\.json: unknown settings guard, walls: delete"):
        verbs.fit([blob_file], config=copy, output=here / "again")
    assert not (here / "again").exists()


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
    assert set(config["settings"]) == {setting.name for setting in list_settings(PRESETS["temi"]["ours"])}
    assert (config["settings"]["beta"], config["settings"]["n_clusters"]) == (0.7, 4)
    assert config["settings"]["length"] == 30
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


@pytest.mark.parametrize(("labels", "expected"), [([0, 1, 5] * 40, 3), ([-1, 2, 3] * 40, 2)])
def test_clusters_default_to_the_labelled_classes(fit, write, blobs, labels, expected):
    run = fit(write("some.h5", blobs.features, np.array(labels)), method="kmeans")
    assert read_metrics(run)["n_clusters"] == expected


@pytest.mark.parametrize("labels", [None, np.full(120, -1)])
def test_clusters_are_asked_for_without_labels(fit, write, blobs, here, labels):
    with pytest.raises(SettingError, match="set the number of clusters with --clusters K"):
        fit(write("plain.h5", blobs.features, labels))
    assert not (here / "run").exists()


@pytest.mark.parametrize("clusters", [121, 10**9])
def test_more_clusters_than_samples(fit, blob_file, clusters):
    with pytest.raises(SettingError, match=f"{clusters} clusters of 120 samples: expected at most 120"):
        fit(blob_file, clusters=clusters)


def test_neighbors_are_cut_by_default_but_not_when_asked_for(fit, write, blobs, monkeypatch):
    path, asked = write("few.h5", blobs.features[:9]), []
    real = cached.cached_neighbors

    def spy(space, k, **options) -> NeighborGraph:
        asked.append(k)
        return real(space, k, **options)

    monkeypatch.setattr(cached, "cached_neighbors", spy)
    fit(path, clusters=2)
    run = fit(path, clusters=2, changes={"n_neighbors": "8"}, output="eight")
    assert asked == [8, 8]
    for n_neighbors in ("9", 50):
        with pytest.raises(SettingError, match=f"n_neighbors is {n_neighbors}, of 9 samples: expected at most 8"):
            fit(path, clusters=2, changes={"n_neighbors": n_neighbors}, output="nine")
    verbs.fit(config=run, output=run.with_name("again"))


def test_default_places(fit, blob_file, here):
    for expected in ("blobs-blobs-consensus-s0", "blobs-blobs-consensus-s0-2"):
        assert verbs.fit([blob_file], changes=short("consensus")).name == expected
    assert verbs.fit([blob_file], method="kmeans", preset="authors", seed=2).name == "blobs-blobs-kmeans-s2-authors"
    assert {path.name for path in (here / "runs").iterdir()} == {
        "blobs-blobs-consensus-s0",
        "blobs-blobs-consensus-s0-2",
        "blobs-blobs-kmeans-s2-authors",
    }


def test_names_made_safe_for_files(write, blobs, here):
    path = write("x.h5", blobs.features, blobs.labels, dataset="../../etc/pass wd\n\x1b[2J\udce9")
    run = verbs.fit([path], method="kmeans")
    assert run.parent.resolve() == here / "runs"
    assert run.name == "etc-pass-wd-2J-xe9-x-kmeans-s0"


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
    "rows", [slice(50), np.random.default_rng(0).permutation(120)], ids=["fewer", "in another order"]
)
def test_files_to_score_on_hold_the_same_samples(fit, write, halves, rows):
    # Once a traceback after the fit, or scores of pairs that do not belong together.
    files = [write(f"{n}.h5", one.features[:120], one.labels[:120], backbone=str(n)) for n, one in enumerate(halves)]
    ids = [f"image-{row}.png" for row in np.arange(120)[rows]]
    other = write("other.h5", halves[1].features[:120][rows], sample_ids=ids, backbone="1")
    with pytest.raises(
        DataError, match=r"other\.h5 and .*0\.h5 hold different samples: expected the same, in one order"
    ):
        fit(*files, method="kmeans", evaluate_on=[files[0], other])
    assert not files[0].with_name("run").exists()


def test_a_run_of_several_files_is_named_after_all_of_them(write, blobs):
    files = [write(f"{name}.h5", blobs.features, blobs.labels) for name in ("lite0", "lite1")]
    assert verbs.fit(files, method="kmeans") == Path("runs/blobs-lite0-lite1-kmeans-s0")


def test_a_collapse_is_told(monkeypatch, capsys, fit, blob_file):
    monkeypatch.setattr(
        sys.modules["headclust.verbs.fit"],
        "warnings_of",
        lambda report: [f"{report['n_clusters']} clusters are told of."],
    )
    fit(blob_file, method="kmeans", clusters=3)
    assert "warning: 3 clusters are told of.\n" in capsys.readouterr().err
