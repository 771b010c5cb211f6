import pytest
import timm
import torch

from headclust.backbones import load_backbone, untrained_backbone
from headclust.backbones.smoke_pass import check_patch_multiple, freeze_model
from headclust.errors import SettingError


def test_a_model_that_gives_maps_is_refused():
    with pytest.raises(SettingError, match=r"returns \(1, 8, 30, 30\) for an image: expected one vector"):
        freeze_model("maps", torch.nn.Conv2d(3, 8, 3), (32, 32))


def test_a_model_that_does_not_take_the_size():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    with pytest.raises(SettingError, match="does not take images of 32 x 32 px"):
        freeze_model("a ViT", model, (32, 32))


@pytest.mark.parametrize(
    ("name", "patch", "near"),
    [
        ("dinov2_vits14", 14, "98 or 112"),
        ("msn_vit_small", 16, "96 or 112"),
        ("clip_ViT-B/32", 32, "96 or 128"),
        ("siglip2_vitb16", 16, "96 or 112"),
        ("pe_core_vitt16", 16, "96 or 112"),
        ("convnext_small", 32, "96 or 128"),
        ("open_clip:ViT-B-16/openai", 16, "96 or 112"),
    ],
)
def test_a_size_that_is_no_multiple_of_the_patch_is_refused(tmp_path, name, patch, near):
    with pytest.raises(SettingError, match=rf"squares of {patch} px.*such as {near} px\.$") as caught:
        untrained_backbone(name, image_size=100, device="meta")
    assert "\n" not in str(caught.value)
    (tmp_path / "empty").touch()
    with pytest.raises(SettingError, match="squares of"):  # before it is read
        load_backbone(name, image_size=100, weights=tmp_path / "empty")
    untrained_backbone(name, image_size=int(near[:2]), device="meta")


def test_convolutions_that_pad_take_any_size():
    for name in ("dino_resnet50", "efficientnet_lite0"):
        assert untrained_backbone(name, image_size=101, device="meta").preprocessing.size == (101, 101)


def test_the_border_is_really_lost_or_seen():
    model = timm.create_model("vit_tiny_patch16_224", img_size=100, num_classes=0).eval().requires_grad_(False)
    image = torch.zeros(1, 3, 100, 100)
    changed = image.clone()
    changed[..., 96:] = 1
    assert torch.equal(model(image), model(changed))
    with pytest.raises(SettingError, match="right and lower border"):
        check_patch_multiple("a ViT", model, 100)
    check_patch_multiple("a ViT", timm.create_model("vit_tiny_patch16_224", img_size=96), 96)
