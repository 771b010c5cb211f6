"""Against the authors' own steps, written out with torchvision: model_builders.py, loaders/imagenet.py, clip.load."""

import json

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision import transforms as T

from headclust.backbones import CATALOG, load_backbone, untrained_backbone
from headclust.backbones.temi_paper import reproduce
from headclust.errors import DataError, SettingError

BICUBIC = T.InterpolationMode.BICUBIC
TENSOR = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
CLIP = image_transform_v2(
    PreprocessCfg(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)), is_train=False
)
SQUASH = T.Resize((256, 256))


FAMILIES = ("dino_", "timm_", "convnext_", "msn_", "mocov3_", "clip_", "mae_")
AUTHORS = [name for name in CATALOG if name.startswith(FAMILIES)]


def backbone_of(name: str, dataset: str):
    return untrained_backbone(name, preset="temi-paper", dataset=dataset, device="meta")


def image(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("name", "dataset", "geometry", "steps", "size"),
    [
        ("dino_vits16", "cifar10", "resize-224-without-crop", [T.Resize(224, BICUBIC), *TENSOR], (32, 32)),
        ("mae_vit_base", "stl10", "resize-224-without-crop", [T.Resize(224, BICUBIC), *TENSOR], (96, 96)),
        (
            "timm_vit_base_patch16_224",
            "imagenet",
            "resize-256-crop-224-bilinear",
            [T.Resize(256), T.CenterCrop(224), *TENSOR],
            (300, 200),
        ),
        (
            "convnext_small",
            "imagenet-50",
            "squash-256-then-resize-224",
            [SQUASH, T.Resize(224, BICUBIC), *TENSOR],
            (300, 200),
        ),
        ("clip_ViT-B/32", "cifar20", "clip", [CLIP], (32, 32)),
        ("clip_RN50", "imagenet", "clip", [CLIP], (300, 200)),
        ("clip_ViT-L/14", "imagenet-200", "squash-256-then-clip", [SQUASH, CLIP], (300, 200)),
    ],
)
def test_images_are_prepared_as_the_authors_did(name, dataset, geometry, steps, size):
    preprocessing = backbone_of(name, dataset).preprocessing
    pixels = torch.from_numpy(preprocessing.pixels(image(*size)))
    assert torch.equal(preprocessing.normalize(pixels[None])[0], T.Compose(steps)(image(*size)))
    assert (preprocessing.record["preset"], preprocessing.record["geometry"]) == ("temi-paper", geometry)
    assert json.loads(json.dumps(preprocessing.record)) == preprocessing.record


def test_all_classes_of_imagenet_are_imagenet():
    for name in ("dino_vits16", "clip_ViT-B/32"):
        whole, chosen = (backbone_of(name, dataset).preprocessing.record for dataset in ("imagenet", "imagenet-1000"))
        assert whole == chosen


@pytest.mark.parametrize(
    ("name", "deviations"),
    [
        ("mocov3_vit_small", ["mocov3-vit-small-with-6-heads"]),
        ("timm_vit_large_patch16_224", ["augreg-with-imagenet-mean-std"]),
        ("convnext_base", ["convnext-before-the-last-norm"]),
        ("mocov3_vit_base", []),
        ("timm_resnet50", []),
        ("clip_ViT-B/16", []),
    ],
)
def test_deviations_are_named(name, deviations):
    assert backbone_of(name, "cifar100").preprocessing.record["deviations"] == deviations
    record = untrained_backbone(name, device="meta").preprocessing.record
    assert {"preset", "geometry", "deviations"}.isdisjoint(record)


def test_heads_of_moco():
    def heads(**preset) -> set[int]:
        model = untrained_backbone("mocov3_vit_small", device="meta", **preset).model
        return {block.attn.num_heads for block in model.blocks}

    assert heads() == {12}
    assert heads(preset="temi-paper", dataset="cifar10") == {6}


def test_every_name_of_the_authors_and_its_width():
    assert len(AUTHORS) == 22
    for name in AUTHORS:
        entry = reproduce(CATALOG[name], "imagenet", None).entry
        # What is built as without the preset has been built in test_upstream.py.
        if entry.arguments != CATALOG[name].arguments:
            assert backbone_of(name, "imagenet").feature_dim == entry.dim


def test_an_image_that_is_not_square_cannot_go_uncropped():
    preprocessing = backbone_of("dino_vits16", "stl10").preprocessing
    with pytest.raises(DataError, match=r"300 x 200 pixels become 336 x 224, expected 224 x 224: .*square images"):
        preprocessing.pixels(image(300, 200))


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("dinov2_vits14", {"dataset": "cifar10"}, "unknown model of preset 'temi-paper' 'dinov2_vits14'"),
        ("efficientnet_lite0", {"dataset": "cifar10"}, "unknown model of preset"),
        ("timm:test_vit", {"dataset": "cifar10"}, "unknown model of preset"),
        ("dino_vits16", {"dataset": "digits"}, "unknown data set of preset 'temi-paper' 'digits'"),
        ("dino_vits16", {"dataset": "imagenet-"}, "unknown data set"),
        ("dino_vits16", {"dataset": "imagenet-N"}, "unknown data set"),
        ("dino_vits16", {}, "depends on the data set: name one of cifar10"),
        ("dino_vits16", {"dataset": "cifar10", "image_size": 96}, "fixes the image size at 224 px"),
    ],
)
def test_what_the_authors_had_not_is_refused(name, more, message):
    for call in (load_backbone, untrained_backbone):
        with pytest.raises(SettingError, match=message) as caught:
            call(name, preset="temi-paper", **more)
        assert "\n" not in str(caught.value)
