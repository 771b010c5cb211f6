"""On timm's own tiny test models, whose weights are made here."""

import pytest
import timm
import torch

from headclust.backbones import CATALOG, load_backbone, untrained_backbone
from headclust.errors import SettingError

TINY = ["test_vit", "test_efficientnet", "test_convnext", "test_resnet", "test_byobnet"]


def features(backbone, size: int) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.model(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))


def pooled(model, size: int) -> torch.Tensor:
    """What timm itself calls the features before the classifier."""
    with torch.inference_mode():
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
        return model.forward_head(model.forward_features(images), pre_logits=True)


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_a_vit_at_another_size_has_resampled_positions(checkpoint, name):
    model, path = checkpoint(name)
    backbone = load_backbone(f"timm:{name}", weights=path, image_size=96)
    expected = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, img_size=96).eval()
    assert torch.equal(features(backbone, 96), pooled(expected, 96))
    record = backbone.preprocessing.record
    assert (record["input_size"], record["own_size"]) == ([96, 96], list(model.pretrained_cfg["input_size"][1:]))
    assert backbone.preprocessing.size == (96, 96)


def test_a_catalog_name_with_a_file(checkpoint):
    model, path = checkpoint("vit_small_patch16_224.dino")
    backbone = load_backbone("dino_vits16", weights=path, image_size=64)
    assert (backbone.name, backbone.feature_dim) == ("dino_vits16", 384)
    assert backbone.feature_point == "CLS token after the final norm"
    whole = load_backbone("dino_vits16", weights=path)
    with torch.inference_mode():
        images = torch.randn(1, 3, 224, 224)
        assert torch.allclose(whole.model(images), model.forward_features(images)[:, 0])


@pytest.mark.parametrize(
    "name",
    ["timm_resnet50", "dinov3_vits16", "eva02_vitti14", "pe_core_vitt16", "mobileclip_s0", "dinov3_convnext_tiny"],
)
def test_catalog_entries_load_what_timm_saves(checkpoint, name):
    entry = CATALOG[name]
    model, path = checkpoint(entry.key, **entry.arguments)
    backbone = load_backbone(name, weights=path)
    size = entry.input_size
    with torch.inference_mode():
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
        expected = model(images) if entry.projected else pooled(model, size)
        assert torch.allclose(backbone.model(images), expected, atol=1e-5)
    assert backbone.feature_dim == entry.dim
    assert backbone.preprocessing.record == untrained_backbone(name, device="meta").preprocessing.record


def test_the_preprocessing_is_timms(checkpoint):
    import numpy as np
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8))
    for name in TINY:
        model, path = checkpoint(name)
        ours = load_backbone(f"timm:{name}", weights=path).preprocessing
        theirs = create_transform(**resolve_model_data_config(model), is_training=False)
        assert torch.equal(ours.normalize(torch.from_numpy(ours.pixels(image))[None])[0], theirs(image))
        assert ours.record["config"].startswith(name)


def test_a_size_the_model_cannot_have(checkpoint):
    _, path = checkpoint("vit_tiny_patch16_224")
    with pytest.raises(SettingError, match="does not take images of 4 x 4 px") as caught:
        load_backbone("timm:vit_tiny_patch16_224", weights=path, image_size=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("timm:resnet51", "timm:resnet50"),
        ("timm:resnet50.a1_in2k", "timm:resnet50.a1_in1k"),
        ("timm:", "did you mean timm:"),
        ("dino_vit16", "dino_vits16"),
        ("resnet50", "Any timm:NAME"),
        ("clip:x", "Any timm:NAME"),
    ],
)
def test_unknown_names_offer_the_nearest(name, near):
    with pytest.raises(SettingError, match="unknown model") as caught:
        load_backbone(name)
    assert near in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_published_weights():
    with pytest.raises(SettingError, match="timm publishes no weights for it; give them with --weights FILE"):
        load_backbone("timm:efficientnet_cc_b0_4e")
