"""On tiny models of open_clip's own classes, whose weights are made here."""

import hashlib
import json

import numpy as np
import open_clip
import pytest
import torch
from open_clip import factory
from open_clip.pretrained import _PRETRAINED
from PIL import Image
from safetensors.torch import save_file

from headclust.backbones import load_backbone, untrained_backbone
from headclust.errors import FileFormatError, SettingError

TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
NATIVE = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
CONFIGS = {
    "tiny": {"embed_dim": 24, "vision_cfg": NATIVE, "text_cfg": TEXT},
    "tiny-coca": {
        "embed_dim": 24,
        "vision_cfg": {**NATIVE, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
        "custom_text": True,
    },
    "tiny-timm": {
        "embed_dim": 24,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
        "custom_text": True,
    },
}
PREPROCESS = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "interpolation": "bilinear", "resize_mode": "squash"}


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    """Tiny models in open_clip's registries, each with a pretrained tag "w"."""
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    for name, config in CONFIGS.items():
        factory._MODEL_CONFIGS[name] = json.loads(json.dumps(config))
        tag = {**PREPROCESS, "hf_hub": f"nobody/{name}/", "quick_gelu": name == "tiny"}
        monkeypatch.setitem(_PRETRAINED, name, {"w": tag})


@pytest.fixture
def checkpoint(tmp_path):
    def save(name: str):
        torch.manual_seed(0)
        model = open_clip.create_model(name, force_quick_gelu=name == "tiny").eval().requires_grad_(False)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "w.safetensors")
        return model, tmp_path / "w.safetensors"

    return save


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", CONFIGS)
def test_features_are_encode_images(checkpoint, name):
    model, path = checkpoint(name)
    backbone = load_backbone(f"open_clip:{name}/w", weights=path, offline=True)
    size = CONFIGS[name]["vision_cfg"]["image_size"]
    with torch.inference_mode():
        assert torch.equal(backbone.model(images(size)), model.encode_image(images(size), normalize=False))
    assert backbone.feature_dim == 24
    assert backbone.feature_point == "projected image embedding, not normalized"
    assert backbone.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not backbone.model.training


def test_quick_gelu_is_the_tags_not_the_architectures(checkpoint):
    model, path = checkpoint("tiny")
    plain = open_clip.create_model("tiny", pretrained=str(path)).eval().requires_grad_(False)
    backbone = load_backbone("open_clip:tiny/w", weights=path)
    with torch.inference_mode():
        ours = backbone.model(images(32))
        assert torch.equal(ours, model.encode_image(images(32)))
        assert not torch.allclose(ours, plain.encode_image(images(32)))


def test_the_preprocessing_is_the_tags(checkpoint):
    _, path = checkpoint("tiny")
    ours = load_backbone("open_clip:tiny/w", weights=path).preprocessing
    _, _, theirs = open_clip.create_model_and_transforms(
        "tiny",
        pretrained=str(path),
        image_mean=PREPROCESS["mean"],
        image_std=PREPROCESS["std"],
        image_interpolation="bilinear",
        image_resize_mode="squash",
    )
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8))
    assert torch.equal(ours.normalize(torch.from_numpy(ours.pixels(image))[None])[0], theirs(image))
    assert (ours.record["config"], ours.record["crop"], ours.record["interpolation"]) == (
        "tiny/w",
        "squash",
        "bilinear",
    )
    assert json.loads(json.dumps(ours.record)) == ours.record


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_without_weights_it_is_the_same_model(checkpoint, capfd, name, device):
    _, path = checkpoint(name)
    real = load_backbone(f"open_clip:{name}/w", weights=path)
    capfd.readouterr()
    bare = untrained_backbone(f"open_clip:{name}/w", device=device)
    assert capfd.readouterr().err == ""
    assert bare.preprocessing.record == real.preprocessing.record
    assert (bare.feature_dim, bare.feature_point) == (real.feature_dim, real.feature_point)
    shapes, expected = ({k: v.shape for k, v in b.model.state_dict().items()} for b in (bare, real))
    assert shapes == expected
    assert {p.device.type for p in bare.model.parameters()} == {device}


@pytest.mark.parametrize(("name", "size"), [("tiny", 48), ("tiny-timm", 96)])
def test_another_image_size(checkpoint, name, size):
    _, path = checkpoint(name)
    backbone = load_backbone(f"open_clip:{name}/w", weights=path, image_size=size)
    theirs = (
        open_clip.create_model(name, pretrained=str(path), force_image_size=size, force_quick_gelu=name == "tiny")
        .eval()
        .requires_grad_(False)
    )
    with torch.inference_mode():
        assert torch.equal(backbone.model(images(size)), theirs.encode_image(images(size)))
    assert backbone.preprocessing.size == (size, size)
    assert backbone.preprocessing.record["own_size"] == [CONFIGS[name]["vision_cfg"]["image_size"]] * 2


def test_a_size_the_model_cannot_have(checkpoint):
    _, path = checkpoint("tiny")
    with pytest.raises(SettingError, match=r"cannot be built for 4 px|does not take images of 4") as caught:
        load_backbone("open_clip:tiny/w", weights=path, image_size=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "visual.proj"}, r"1 missing \(visual.proj\)\.$"),
        (lambda s: {**s, "extra": torch.ones(1)}, r"1 not the model's \(extra\)\.$"),
        (lambda s: {**s, "visual.proj": torch.ones(3)}, r"1 of another shape \(visual.proj \(3,\) for \(64, 24\)\)\.$"),
        (lambda s: {k: v for k, v in s.items() if k.startswith("visual.")}, r"missing \(positional_embedding, "),
    ],
)
def test_weights_that_do_not_fit(checkpoint, capfd, change, message):
    model, path = checkpoint("tiny")
    save_file(change({key: value.contiguous() for key, value in model.state_dict().items()}), path)
    with pytest.raises(FileFormatError, match=message) as caught:
        load_backbone("open_clip:tiny/w", weights=path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("open_clip:ViT-B-32/opnai", "open_clip:ViT-B-32/openai"),
        ("open_clip:ViT-B-33/openai", "open_clip:ViT-B-32/openai"),
        ("open_clip:ViT-B-32", "open_clip:ViT-B-32"),
        ("open_clip:", "open_clip:"),
    ],
)
def test_unknown_names_offer_the_nearest(name, near):
    with pytest.raises(SettingError, match="unknown model") as caught:
        load_backbone(name)
    assert near in str(caught.value)


def test_openais_way_of_writing_the_architecture(monkeypatch):
    with pytest.raises(SettingError, match=r"weights of 'open_clip:ViT-B/32/openai' are not on this machine"):
        load_backbone("open_clip:ViT-B/32/openai", offline=True)
