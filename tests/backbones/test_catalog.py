"""Every name of the catalog, against the libraries that hold the architectures and the records of the weights."""

import hashlib

import open_clip
import pytest
import timm
import torch

from headclust.backbones import CATALOG, untrained_backbone
from headclust.backbones.catalog import find_entry
from headclust.backbones.packaged import weights_file
from headclust.errors import SettingError

# The TEMI authors' list (model_builders.py) and the one that only their README uses.
AUTHORS = {
    *("dino_resnet50", "dino_vits16", "dino_vitb16", "timm_resnet50"),
    *(f"timm_vit_{size}_patch16_224" for size in ("small", "base", "large")),
    *(f"{family}_{size}" for family in ("convnext", "msn_vit") for size in ("small", "base", "large")),
    *("mocov3_vit_small", "mocov3_vit_base", "mae_vit_base", "mae_vit_large", "mae_vit_huge"),
    *("clip_ViT-B/16", "clip_ViT-L/14", "clip_RN50", "clip_ViT-B/32"),
}


def computed(entry) -> tuple:
    """What two names share when they are the same model with, untrained, the same weights."""
    library, _, key = entry.key.rpartition(":")
    architecture = key.partition(".")[0] if entry.loader != "open_clip" else key
    return library or entry.loader, architecture, *entry.arguments.items(), entry.dim, entry.input_size


SMALL = {computed(entry): name for name, entry in CATALOG.items() if entry.parameters <= 100_000_000}.values()
BY_LOADER = {
    loader: [name for name, entry in CATALOG.items() if entry.loader == loader]
    for loader in ("timm", "open_clip", "published", "packaged")
}


def test_the_authors_names_are_there():
    assert len(AUTHORS) == 22
    assert set(CATALOG) > AUTHORS


@pytest.mark.parametrize("name", SMALL)
def test_a_forward_pass_is_as_wide_as_is_recorded(name):
    assert untrained_backbone(name, device="meta").feature_dim == CATALOG[name].dim


@pytest.mark.slow  # half a gigabyte of random numbers, and a batch on the CPU
@pytest.mark.parametrize("name", SMALL)
def test_a_forward_pass_is_finite(name, monkeypatch):
    # The trial of a model just made is this same pass, once more.
    monkeypatch.setattr("headclust.backbones.backbone.freeze_model", lambda name, model, size: CATALOG[name].dim)
    backbone = untrained_backbone(name)
    backbone.model.eval()
    with torch.inference_mode():
        images = torch.randn(1, 3, *backbone.preprocessing.size, generator=torch.Generator().manual_seed(0))
        features = backbone.model(images)
    assert features.shape == (1, CATALOG[name].dim)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("name", BY_LOADER["timm"])
def test_timms_record_agrees(name):
    entry = CATALOG[name]
    config = timm.models.get_pretrained_cfg(entry.key)
    assert config.hf_hub_id == entry.hub
    assert config.license == entry.license.lower()
    assert not entry.projected or config.num_classes == entry.dim


@pytest.mark.parametrize("name", BY_LOADER["open_clip"])
def test_open_clips_record_agrees(name):
    architecture, tag = CATALOG[name].key.split("/")
    config = open_clip.get_pretrained_cfg(architecture, tag)
    assert config["hf_hub"] == f"{CATALOG[name].hub}/"
    assert config["quick_gelu"]


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("siglip2_vitb32", "ViT-B-32-SigLIP2-256/webli"),
        ("siglip2_vitb16", "ViT-B-16-SigLIP2/webli"),
        ("siglip2_vitl16_384", "ViT-L-16-SigLIP2-384/webli"),
        ("siglip2_so400m14_378", "ViT-SO400M-14-SigLIP2-378/webli"),
        ("siglip2_giantopt16", "ViT-gopt-16-SigLIP2-256/webli"),
        ("eva02_clip_vitb16", "EVA02-B-16/merged2b_s8b_b131k"),
        ("eva02_clip_vitl14_336", "EVA02-L-14-336/merged2b_s6b_b61k"),
        ("eva02_clip_vite14plus", "EVA02-E-14-plus/laion2b_s9b_b144k"),
        ("pe_core_vitt16", "PE-Core-T-16-384/meta"),
        ("pe_core_vitb16", "PE-Core-B-16/meta"),
        ("pe_core_vitg14", "PE-Core-bigG-14-448/meta"),
        ("mobileclip_s1", "MobileCLIP-S1/datacompdr"),
        ("mobileclip_vitb16_lt", "MobileCLIP-B/datacompdr_lt"),
        ("mobileclip2_s0", "MobileCLIP2-S0/dfndr2b"),
        ("mobileclip2_s3", "MobileCLIP2-S3/dfndr2b"),
        ("mobileclip2_vitl14", "MobileCLIP2-L-14/dfndr2b"),
    ],
)
def test_image_towers_are_prepared_and_as_wide_as_in_open_clip(name, theirs):
    entry, (architecture, tag) = CATALOG[name], theirs.split("/")
    model, config = open_clip.get_model_config(architecture), open_clip.get_pretrained_cfg(architecture, tag)
    assert model["vision_cfg"]["timm_model_name"] == entry.key.partition(".")[0]
    assert (model["embed_dim"], model["vision_cfg"]["image_size"]) == (entry.dim, entry.input_size)
    record = untrained_backbone(name, device="meta").preprocessing.record
    assert (tuple(record["mean"]), tuple(record["std"])) == (config["mean"], config["std"])
    assert record["interpolation"] == config["interpolation"]
    assert record["crop"] == {"shortest": "center", "squash": "squash"}[config["resize_mode"]]
    assert record["resize"] == (entry.input_size if record["crop"] == "center" else [entry.input_size] * 2)


@pytest.mark.parametrize("name", BY_LOADER["packaged"])
def test_the_packages_hold_what_is_recorded(name):
    entry = CATALOG[name]
    assert hashlib.sha256(weights_file(entry).read_bytes()).hexdigest() == entry.weights_sha256
    assert timm.models.get_pretrained_cfg(entry.key).license == entry.license.lower()


@pytest.mark.parametrize("name", [name for name in BY_LOADER["published"] if name.startswith("convnext")])
def test_torchvisions_record_agrees(name):
    import torchvision

    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    entry = CATALOG[name]
    assert weights.url == entry.checkpoint.url
    assert weights.url.endswith(f"-{entry.weights_sha256}.pth")
    ours, theirs = untrained_backbone(name, device="meta").preprocessing.record, weights.transforms()
    assert [ours["resize"]] == theirs.resize_size
    assert ours["input_size"] == theirs.crop_size * 2
    assert (ours["interpolation"], ours["mean"], ours["std"]) == (theirs.interpolation.value, theirs.mean, theirs.std)


def test_what_took_part_in_the_training():
    labels = {name for name, entry in CATALOG.items() if entry.imagenet_labels}
    assert labels == {name for name in CATALOG if name.startswith(("efficientnet_", "timm_", "convnext_"))}
    text = {name for name, entry in CATALOG.items() if entry.text_supervised}
    assert text == {n for n in CATALOG if n.startswith(("clip_", "siglip2_", "eva02_", "pe_core_", "mobileclip"))}


@pytest.mark.parametrize("name", ["clip_ViT-B/16", "clip_ViT-B/32", "clip_ViT-L/14"])
def test_clip_is_built_with_quick_gelu(name):
    blocks = untrained_backbone(name, device="meta").model.visual.transformer.resblocks
    assert {type(block.mlp.gelu) for block in blocks} == {open_clip.transformer.QuickGELU}


@pytest.mark.parametrize("name", ["timm:test_vit", "open_clip:ViT-B-32/openai"])
def test_names_of_libraries_are_entries_too(name):
    assert (find_entry(name).name, find_entry(name).key) == (name, name.partition(":")[2])


@pytest.mark.parametrize("name", ["dinov2_vits16", "swag:vit", "", "clip_ViT-B-16"])
def test_unknown_names_are_one_line(name):
    with pytest.raises(SettingError, match="unknown model") as caught:
        find_entry(name)
    assert "\n" not in str(caught.value)
