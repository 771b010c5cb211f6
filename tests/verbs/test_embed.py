import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from headclust import verbs
from headclust.embedding import EmbedSettings
from headclust.errors import FileFormatError, SettingError

MODULE = importlib.import_module("headclust.verbs.embed")  # the package's attribute of that name is the function


@pytest.mark.parametrize(
    ("options", "settings", "name"),
    [
        ({}, {}, "m.h5"),
        ({"image_size": 128}, {}, "m-128px.h5"),
        ({"limit": 7}, {"seed": 2}, "m-n7-s2.h5"),
        ({}, {"dtype": "float16"}, "m-float16.h5"),
        ({}, {"n_views": 2}, "m-2views.h5"),
        ({}, {"n_views": 2, "augmentation": "strong", "seed": 3}, "m-2views-strong-s3.h5"),
        ({"preset": "temi-paper", "weights": Path("other.pth")}, {}, "m-temi-paper-other.h5"),
        ({}, {"precision": "float32", "on_error": "skip", "timeout": 5}, "m.h5"),
    ],
)
def test_default_places_of_features(monkeypatch, options, settings, name):
    images = SimpleNamespace(dataset="my set", split="train", class_folders=(), subset=lambda limit, seed: images)
    backbone = SimpleNamespace(model=torch.nn.Identity())
    monkeypatch.setattr(MODULE, "open_source", lambda *_, **__: images)
    monkeypatch.setattr(MODULE, "load_backbone", lambda *_, **__: backbone)
    monkeypatch.setattr(MODULE, "untrained_backbone", lambda *_, **__: backbone)
    monkeypatch.setattr(MODULE, "embed_images", lambda images, backbone, path, settings: path)
    monkeypatch.setattr(MODULE, "estimate", lambda images, backbone, path, settings: path)
    for check in ("find_entry", "check_weights"):
        monkeypatch.setattr(MODULE, check, lambda _: None)
    monkeypatch.setattr(MODULE, "load_features", lambda path: SimpleNamespace(left_out=(), n_samples=1))
    Path("other.pth").touch()
    path = verbs.embed("m", "somewhere", settings=EmbedSettings(**settings), **options)
    assert path.as_posix() == f"features/my-set-train/{name}"
    assert verbs.embed("m", "somewhere", settings=EmbedSettings(**settings), dry_run=True, **options) == path


def test_everything_is_passed_on(monkeypatch):
    given = {"split": "s", "classes": Path("c"), "limit": None, "output": Path("o.h5"), "weights": Path("w")}
    given |= {"preset": "temi-paper", "image_size": 7, "settings": EmbedSettings(n_views=3), "offline": True}
    given |= {"exclude": ("x",), "labels": "none"}
    assert {*given, "dry_run"} == set(verbs.embed.__kwdefaults__)
    seen = {}

    def keep(result):
        return lambda *positional, **options: seen.update(options, last=positional[-1]) or result

    images = SimpleNamespace(dataset="d", split="train", class_folders=())
    monkeypatch.setattr(MODULE, "open_source", keep(images))
    monkeypatch.setattr(MODULE, "load_backbone", keep(None))
    monkeypatch.setattr(MODULE, "embed_images", keep(Path("o.h5")))
    for check in ("find_entry", "check_weights"):
        monkeypatch.setattr(MODULE, check, lambda _: None)
    monkeypatch.setattr(MODULE, "load_features", lambda path: SimpleNamespace(left_out=(), n_samples=1))
    verbs.embed("m", "somewhere", **given)
    used_here = {"split", "limit", "output", "settings"}
    passed = {name: value for name, value in given.items() if name not in used_here}
    assert seen == {"dataset": "d", "last": given["settings"], **passed}


def test_a_dry_run_refuses_what_no_memory_can_hold(monkeypatch):
    monkeypatch.setattr("headclust.device.available_memory", lambda: 10**7)
    with pytest.raises(
        SettingError, match=r"'efficientnet_lite0' takes 0\.0 GB of memory to load, and 0\.0 GB are free"
    ):
        verbs.embed("efficientnet_lite0", limit=1, dry_run=True)


def test_a_dry_run_names_weights_that_are_not_there():
    with pytest.raises(FileFormatError, match=r"weights nowhere\.pth: no such file\."):
        verbs.embed("efficientnet_lite0", limit=1, weights=Path("nowhere.pth"), dry_run=True)
