import numpy as np
import pytest

from headclust import load_features, runs, verbs
from headclust.errors import SettingError
from headclust.model import ensemble
from headclust.runs import scored_fit as trials
from headclust.scoring.probes import probe
from verbs.conftest import read_metrics


def test_probes_find_features_that_moved_with_the_run(fit, write, blobs, test_file, here):
    run = fit(write("groups/x.h5", blobs.features, blobs.labels), output="groups/run")
    expected = verbs.evaluate(run, features=[test_file], probes=True)["probes"]
    (here / "groups").rename(here / "moved")
    assert verbs.evaluate(here / "moved/run", features=[test_file], probes=True)["probes"] == expected


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


def test_probes_of_several_spaces_are_of_all_of_them(fit, write, halves):
    files = [write(f"{n}.h5", one.features, one.labels, backbone=str(n)) for n, one in enumerate(halves)]
    run = fit(*files, method="kmeans")
    report = verbs.evaluate(run, features=files, probes=True)
    assert report["probes"]["linear_accuracy"] > 0.95
    alone = [probe(load_features(path), load_features(path))["linear_accuracy"] for path in files]
    assert max(alone) < 0.85


def test_assign_scores_the_chosen_head(fit, blob_file, test_file):
    model, features = runs.read_run(fit(blob_file)).model, load_features(test_file)
    assigned = trials.assign(model, [features])
    heads = model.probs(features.all()).argmax(-1).numpy()
    expected = ensemble.summarize(heads, heads[model.used_heads[0]], 4, seconds=0, labels=features.labels)
    assert {**assigned.report, "seconds": 0} == expected
    assert np.array_equal(assigned.clusters, heads[model.used_heads[0]])
