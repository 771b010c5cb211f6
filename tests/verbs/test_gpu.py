"""Verbs and estimators on a device that does not exist: they compute there, and the files are those of the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_blobs
from fake_device import FakeDevice
from gray import FakeBackbone, FakeImages

from headclust import verbs
from headclust.embedding import EmbedSettings
from headclust.embedding.embed import embed_images
from headclust.estimators import HeadClustering
from headclust.features import load_features
from headclust.images.decoding import pool
from headclust.images.decoding.worker import start_worker

SAME = ("assignments.csv", "model.safetensors", "history.jsonl", "seen.safetensors")


@pytest.fixture
def cuda(monkeypatch, tf32):
    """A context in which PyTorch reports a GPU, the fake one."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H200")
    device = FakeDevice()

    class Present:
        def __enter__(self):
            device.__enter__()
            monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
            return device

        def __exit__(self, *error):
            monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
            device.__exit__(*error)

    return Present()


@pytest.mark.parametrize("method", ["consensus", "spectral"])
def test_all_verbs_after_the_features(method, fit, write, cuda, here):
    features, test = (write(f"{name}.h5", *make_blobs(60, seed=seed)) for seed, name in enumerate(("x", "test")))

    def use(name, device):
        """Run, scores, predictions and report, one after the other."""
        yield (run := fit(features, method=method, output=name, evaluate_on=[test], device=device))
        yield {**verbs.evaluate(run, features=[test], probes=True, device=device), "seconds": 0}
        yield verbs.predict(run, features=[test], device=device, output=here / f"{name}.csv").read_bytes()
        yield _map_of(verbs.report(run, device=device, umap=False, output=here / f"{name}.html").read_text())

    run, *expected = use("cpu", "cpu")
    with cuda as fake:
        verbs_on_gpu, results = use("gpu", None), []  # the default is the best device
        for _ in range(4):
            before = fake.transfers["to device"]
            results.append(next(verbs_on_gpu))
            assert fake.transfers["to device"] > before
    on_gpu, *results = results
    assert [(on_gpu / file).read_bytes() for file in SAME] == [(run / file).read_bytes() for file in SAME]
    assert results == expected
    assert json.loads((on_gpu / "config.json").read_text())["device"] == "H200"


def _map_of(page: str) -> list[str]:
    """The paths of the map."""
    return [line for line in page.splitlines() if "<path" in line]


def test_an_estimator_predicts_on_its_device(cuda):
    rows = make_blobs(60).features
    model = HeadClustering(4, method="kmeans", device="cpu").fit(rows)
    expected = model.predict(rows), model.predict_proba(rows)
    model.device = "cuda"
    with cuda as fake:
        assert np.array_equal(model.predict(rows), expected[0])
        assert np.array_equal(model.predict_proba(rows), expected[1])
        assert fake.transfers["to device"]
    assert model.model_.device == torch.device("cpu")


def test_images_are_embedded_on_the_device(cuda, monkeypatch, tmp_path):
    moved = []  # copies to the device when a process is forked

    def start(*arguments):
        moved.append(cuda_device.transfers["to device"])
        return start_worker(*arguments)

    settings = {"batch_size": 16, "n_views": 1, "precision": "float32"}
    paths = [Path(tmp_path / f"{device}.h5") for device in ("cpu", "cuda")]
    embed_images(FakeImages(40), FakeBackbone(), paths[0], EmbedSettings(device="cpu", **settings))
    monkeypatch.setattr(pool, "start_worker", start)
    with cuda as cuda_device:
        embed_images(FakeImages(40), FakeBackbone(), paths[1], EmbedSettings(device="cuda", **settings))
    on_cpu, on_gpu = map(load_features, paths)
    assert torch.equal(on_gpu.all(), on_cpu.all())
    assert torch.equal(on_gpu.rows(slice(None), view=0), on_cpu.rows(slice(None), view=0))
    assert on_gpu.attributes["device"] == "H200"
    # Three blocks of two planes go to the device, and come back as one tensor per block; the model is moved once, after
    # the processes are forked.
    weights = len(FakeBackbone().model.state_dict())
    assert cuda_device.transfers == {"to device": 6 + weights, "to host": 3}
    assert set(moved) == {0}
