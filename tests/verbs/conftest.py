"""Quick fits in a folder of their own."""

import csv
import json

import pytest
from conftest import make_blobs, short

from headclust import verbs


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fit(here):
    def fit_quickly(*paths, method="temi", output="run", **options):
        settings = short(method)
        if options.get("heads") is not None:
            settings.pop("n_heads", None)
        options["changes"] = {**settings, **options.pop("changes", {})}
        return verbs.fit(paths, method=method, output=here / output, **options)

    return fit_quickly


@pytest.fixture
def test_file(write):
    features, labels = make_blobs(60, seed=1)
    return write("test.h5", features, labels, attributes={"split": "test"}, sample_ids=[f"t{i}" for i in range(60)])


def read_metrics(run):
    return json.loads((run / "metrics.json").read_text())


def read_config(run):
    return json.loads((run / "config.json").read_text())


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
