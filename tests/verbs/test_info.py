import json

from headclust import verbs
from verbs.conftest import read_config, read_metrics


def test_info_of_a_file_and_of_a_run(fit, blob_file):
    described = verbs.info(blob_file)
    assert (described["n_samples"], described["feature_dim"], described["n_labeled"]) == (120, 12, 120)
    assert described["dataset"] == "blobs"
    run = fit(blob_file, method="kmeans")
    assert verbs.info(run) == {**read_config(run), "metrics": read_metrics(run)}
    json.dumps(described)
