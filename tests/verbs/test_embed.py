import inspect
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from headclust import load_features, verbs
from headclust.errors import FileFormatError, HeadclustError, SettingError


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


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "m.h5"),
        ({"image_size": 128}, "m-128px.h5"),
        ({"limit": 7, "seed": 2}, "m-n7-s2.h5"),
        ({"dtype": "float16"}, "m-float16.h5"),
        ({"views": 2}, "m-2views.h5"),
        ({"views": 2, "augmentation": "strong", "seed": 3}, "m-2views-strong-s3.h5"),
        ({"preset": "temi-paper", "weights": Path("other.pth")}, "m-temi-paper-other.h5"),
        ({"precision": "float32", "on_error": "skip", "timeout": 5}, "m.h5"),
    ],
)
def test_default_places_of_features(monkeypatch, options, name):
    images = SimpleNamespace(dataset="my set", split="train", subset=lambda limit, seed: images)
    made = SimpleNamespace(model=torch.nn.Identity())
    monkeypatch.setattr("headclust.verbs.embed.open_source", lambda *_, **__: images)
    monkeypatch.setattr("headclust.verbs.embed.load_backbone", lambda *_, **__: made)
    monkeypatch.setattr("headclust.verbs.embed.untrained_backbone", lambda *_, **__: made)
    monkeypatch.setattr("headclust.verbs.embed.embed_images", lambda images, backbone, path, **_: path)
    monkeypatch.setattr("headclust.verbs.embed.estimate", lambda images, backbone, path, **_: path)
    Path("other.pth").touch()
    assert verbs.embed("m", "somewhere", **options).as_posix() == f"features/my-set-train/{name}"
    path, estimate = verbs.estimate_embedding("m", "somewhere", **options)
    assert path == estimate == verbs.embed("m", "somewhere", **options)


def test_an_estimate_takes_what_embedding_takes():
    wanted = inspect.signature(verbs.embed).parameters
    found = inspect.signature(verbs.estimate_embedding).parameters
    assert {name: one.default for name, one in found.items()} == {name: one.default for name, one in wanted.items()}


def test_everything_is_passed_on(monkeypatch):
    given = {"split": "s", "classes": Path("c"), "limit": None, "seed": 5, "output": Path("o.h5"), "weights": Path("w")}
    given |= {"preset": "temi-paper", "image_size": 7, "views": 3, "augmentation": "strong", "batch_size": 9}
    given |= {"dtype": "float16", "precision": "float32", "device": "cpu", "on_error": "skip", "max_bad": 4}
    given |= {"timeout": 1.5, "offline": True, "overwrite": True}
    assert set(given) == set(verbs.embed.__kwdefaults__)
    seen = {}

    def keep(result):
        return lambda *_, **options: seen.update(options) or result

    images = SimpleNamespace(dataset="d", split="train")
    monkeypatch.setattr("headclust.verbs.embed.open_source", keep(images))
    monkeypatch.setattr("headclust.verbs.embed.load_backbone", keep(None))
    monkeypatch.setattr("headclust.verbs.embed.embed_images", keep(Path("o.h5")))
    verbs.embed("m", "somewhere", **given)
    renamed = {"n_views": 3, "dataset": "d"}
    used_here = {"split", "limit", "output", "views"}
    assert seen == {**renamed, **{name: value for name, value in given.items() if name not in used_here}}


def test_an_estimate_refuses_what_no_memory_can_hold(monkeypatch):
    monkeypatch.setattr("headclust.device.available_memory", lambda: 10**7)
    with pytest.raises(
        SettingError, match=r"'efficientnet_lite0' takes 0\.0 GB of memory to load, and 0\.0 GB are free"
    ):
        verbs.estimate_embedding("efficientnet_lite0", limit=1)


def test_an_estimate_names_weights_that_are_not_there():
    with pytest.raises(FileFormatError, match=r"weights nowhere\.pth: no such file\."):
        verbs.estimate_embedding("efficientnet_lite0", limit=1, weights=Path("nowhere.pth"))
