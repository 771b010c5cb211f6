from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from study.places import Places, check_made, make_features
from study.plan import FeatureSpec, plan
from study.presets import DATASETS, find_study

from headclust import load_features, write_features
from headclust.errors import BusyError, ConflictError, DataError

DIGITS = FeatureSpec("efficientnet_lite0", DATASETS["digits"], "test", image_size=32)


def test_features_are_below_the_root_under_safe_names():
    spec = FeatureSpec("clip_ViT-B/16", DATASETS["imagenet-50"], "val")
    assert Places(Path("root")).features(spec) == Path("root/features/imagenet-50-val/clip_ViT-B-16.h5")


def test_where_images_are(tmp_path):
    data = tmp_path / "data"
    places = Places(tmp_path, data, {"cifar10": tmp_path / "elsewhere", "imagenet": tmp_path / "in"})
    assert places.images(DATASETS["digits"]) is None
    assert places.images(DATASETS["cifar10"]) == tmp_path / "elsewhere"
    assert places.images(DATASETS["imagenet-50"]) == tmp_path / "in"
    assert places.images(DATASETS["cifar20"]) == data / "cifar20"
    (data / "cifar100").mkdir(parents=True)
    assert places.images(DATASETS["cifar20"]) == data / "cifar100"


def test_what_is_missing(tmp_path):
    places = Places(tmp_path, tmp_path)
    assert places.missing(DATASETS["digits"]) == []
    assert places.missing(DATASETS["imagenet-50"]) == [
        tmp_path / "imagenet",
        tmp_path / "imagenet_subsets/imagenet_50.txt",
    ]


def test_features_are_embedded_once(tmp_path):
    pytest.importorskip("timm")
    places = Places(tmp_path, offline=True)
    path = make_features(DIGITS, places)
    features = load_features(path)
    assert (features.n_samples, features.attributes["split"], features.n_views) == (360, "test", 0)
    before = path.stat()
    assert make_features(DIGITS, places) == path
    assert path.stat() == before
    check_made(features, DIGITS)
    with pytest.raises(ConflictError, match="its image size is 32, this table needs 64"):
        make_features(replace(DIGITS, image_size=64), places)


def test_features_that_another_process_makes_are_left_to_it(tmp_path):
    places = Places(tmp_path, offline=True)
    with places.claim(DIGITS.file), pytest.raises(BusyError):
        make_features(DIGITS, places)
    assert not places.features(DIGITS).parent.exists()


def test_data_that_are_not_there_are_one_line(tmp_path):
    spec = FeatureSpec("efficientnet_lite0", DATASETS["cifar10"], "train")
    with pytest.raises(DataError, match=r"cifar10: there is no .*: give its path with --data-root") as error:
        make_features(spec, Places(tmp_path, tmp_path / "data"))
    assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())


def test_another_data_set_is_refused(tmp_path):
    # A folder of ImageNet's shape with two classes is "imagenet-2".
    from PIL import Image

    for name in ("n00000001", "n00000002"):
        (tmp_path / "in" / "train" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / "train" / name / "x.png")
    spec = FeatureSpec("efficientnet_lite0", DATASETS["imagenet"], "train")
    with pytest.raises(DataError, match="is imagenet-2: expected imagenet"):
        make_features(spec, Places(tmp_path / "root", data={"imagenet": tmp_path / "in"}))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"split": "test"}, "split is test, this table needs train"),
        ({"split": "train"}, "number of images is 20, this table needs 20000"),
        ({"split": "train", "seed": 1}, "seed is 1, this table needs 0"),
        ({"split": "train", "preprocessing": {"preset": "temi-paper", "input_size": [128, 128]}}, "preset"),
        ({"split": "train", "preprocessing": {"input_size": [224, 224]}}, "image size is 224, this table needs 128"),
    ],
)
def test_features_made_otherwise_are_refused(tmp_path, attributes, words):
    spec = plan(find_study("offline"), datasets=["cifar10"])[0].fit
    made = {"dataset": "cifar10", "backbone": "efficientnet_lite0", "sample_ids": [*"abcdefghijklmnopqrst"]}
    path = write_features(tmp_path / "f.h5", np.eye(20), **made, attributes=attributes)
    with pytest.raises(ConflictError, match=words):
        check_made(load_features(path), spec)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "number of images is 20, this table needs 1437"),
        ({"split": "test"}, "number of images is 20, this table needs 360"),
        ({"split": "test", "n_eval": 20, "size": 128}, "image size is 128, this table needs 224"),
        ({"split": "test", "n_eval": 20, "n_views": 2}, "number of views is 2, this table needs 0"),
        ({"split": "test", "n_eval": 20}, ""),
        ({"split": "test", "n_eval": 20, "size": 224}, ""),
        ({"n_train": 30, "is_counted": False}, ""),  # a part of ImageNet
    ],
)
def test_a_table_without_limit_size_or_views_refuses_files_that_have_them(changes, words):
    counts = {name: value for name, value in changes.items() if name in ("n_train", "n_eval", "is_counted")}
    split = changes.get("split", "train")
    spec = FeatureSpec("efficientnet_lite0", replace(DATASETS["digits"], **counts), split)
    size = changes.get("size")
    said = {"backbone": "efficientnet_lite0", "dataset": "digits", "split": split, "n_listed": 20, "seed": 0}
    said |= {"preprocessing": {"input_size": [size, size]}} if size else {}
    features = SimpleNamespace(
        attributes=said, n_samples=19, skipped=["x"], n_views=changes.get("n_views", 0), path=Path("f.h5")
    )
    if words:
        with pytest.raises(ConflictError, match=words):
            check_made(features, spec)
    else:
        check_made(features, spec)
