"""Key lists and shapes are written down from the model definitions of the checkpoints' authors.

ViT: src/deit.py of facebookresearch/msn, vits.py of facebookresearch/moco-v3, models_mae.py of facebookresearch/mae.
Heads: init_model in src/msn_train.py (which keys the files hold: convert_msn_to_pytorch.py of huggingface/transformers)
and moco/builder.py. Their forward pass is written out again below, with torch's functions alone. ResNet-50, ConvNeXt:
torchvision's own; that DINO's file holds all but the classifier: issue 11 of facebookresearch/dino.
"""

import pytest
import torch
import torch.nn.functional as F
import torchvision

from headclust.backbones import list_backbones, load_backbone, untrained_backbone
from headclust.errors import FileFormatError, SettingError

DIMS = {"small": (384, 12), "base": (768, 12), "large": (1024, 24)}
NORM_OF_BATCH = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def vit(dim: int, depth: int, patch: int = 16) -> dict[str, tuple[int, ...]]:
    shapes = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, (224 // patch) ** 2 + 1, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    layers = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for i in range(depth):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{norm}.weight": (dim,), f"blocks.{i}.{norm}.bias": (dim,)}
        for layer, shape in layers.items():
            shapes |= {f"blocks.{i}.{layer}.weight": shape, f"blocks.{i}.{layer}.bias": shape[:1]}
    return shapes


def projector(layers: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Of any width: it is left out."""
    shapes = {}
    for name, kind in layers.items():
        for part in {"linear": ("weight", "bias"), "weight": ("weight",), "norm": NORM_OF_BATCH}[kind]:
            shapes[f"{name}.{part}"] = () if part == "num_batches_tracked" else (2,)
    return shapes


def under(prefix: str, values: dict) -> dict:
    return {f"{prefix}{key}": value for key, value in values.items()}


def msn(encoder: dict) -> dict:
    head = {"fc1": "linear", "bn1": "norm", "fc2": "linear", "bn2": "norm", "fc3": "linear"}
    target = under("module.", encoder | under("fc.", tensors(projector(head), thin=True)))
    return {
        "encoder": target,
        "target_encoder": target,
        "prototypes": torch.ones(2),
        "opt": {"state": {}},
        "epoch": 800,
    }


def moco(encoder: dict) -> dict:
    mlp = {"0": "weight", "1": "norm", "3": "weight", "4": "norm", "6": "weight", "7": "norm"}
    head = under("head.", tensors(projector(mlp), thin=True))
    other = {key: torch.tensor(torch.nan).expand(value.shape) for key, value in encoder.items()}
    predictor = tensors(projector({key: mlp[key] for key in ("0", "1", "3", "4")}), thin=True)
    state = under("base_encoder.", other | head) | under("momentum_encoder.", encoder | head)
    return {"epoch": 300, "arch": "vit_small", "state_dict": under("module.", state | under("predictor.", predictor))}


def tensors(shapes: dict[str, tuple[int, ...]], *, thin: bool = False) -> dict[str, torch.Tensor]:
    """Random; thin ones repeat one number in every row, which keeps the file of a large model small."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name, shape in shapes.items():
        if thin:
            made[name] = torch.randn(shape[:1] + (1,) * (len(shape) - 1), generator=generator).expand(shape) * 1.0
            made[name] = made[name][:1].expand(shape) if shape else made[name]
        else:
            made[name] = torch.randn(shape, generator=generator) * 0.1 + ("norm" in name and name.endswith("weight"))
    return made


def features(state: dict[str, torch.Tensor], images: torch.Tensor, heads: int, patch: int = 16) -> torch.Tensor:
    """CLS token after the final norm."""

    def normed(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=patch)
    tokens = patches.flatten(2).transpose(1, 2)
    x = torch.cat((state["cls_token"].expand(len(images), -1, -1), tokens), dim=1) + state["pos_embed"]
    for i in range(sum(key.endswith("norm1.weight") for key in state)):
        qkv = linear(normed(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
        q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        attention = ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(-1)
        x = x + linear((attention @ v).transpose(1, 2).flatten(2), f"blocks.{i}.attn.proj")
        hidden = F.gelu(linear(normed(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + linear(hidden, f"blocks.{i}.mlp.fc2")
    return normed(x, "norm")[:, 0]


def images(size: int = 224) -> torch.Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def output(backbone, size: int = 224) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.model(images(size))


@pytest.fixture
def saved(tmp_path):
    def save(content, name: str = "published.pth.tar"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    ("name", "wrap", "heads", "preset"),
    [
        ("msn_vit_small", msn, 6, {}),
        ("mocov3_vit_small", moco, 12, {}),
        ("mocov3_vit_small", moco, 6, {"preset": "temi-paper", "dataset": "cifar10"}),
    ],
)
def test_a_vit_is_computed_as_its_authors_define_it(saved, name, wrap, heads, preset):
    state = tensors(vit(*DIMS["small"]))
    backbone = load_backbone(name, weights=saved(wrap(state)), offline=True, **preset)
    expected, other = (features(state, images(), heads=number) for number in (heads, 18 - heads))
    assert torch.allclose(output(backbone), expected, atol=1e-4)
    assert not torch.allclose(output(backbone), other, atol=1e-2)
    assert backbone.weights_origin == "file published.pth.tar (sha256 of the file)"
    assert backbone.feature_point.startswith("CLS token after the final norm, of the ")
    assert len(backbone.weights_sha256) == 64


def test_a_larger_size(saved):
    state = tensors(vit(*DIMS["base"]), thin=True)
    assert load_backbone("mocov3_vit_base", weights=saved(moco(state))).feature_dim == 768


@pytest.mark.parametrize("name", ["msn_vit_base", "msn_vit_large", "mocov3_vit_base"])
def test_the_larger_sizes_have_these_keys_and_shapes(name):
    made = untrained_backbone(name, device="meta").model.state_dict()
    assert {key: tuple(value.shape) for key, value in made.items()} == vit(*DIMS[name.rpartition("_")[2]])


def test_the_authors_file_of_a_mae(saved):
    state = tensors(vit(*DIMS["base"]))
    backbone = load_backbone("mae_vit_base", weights=saved({"model": state}, "mae_pretrain_vit_base.pth"))
    assert torch.allclose(output(backbone), features(state, images(), heads=12), atol=1e-4)
    decoder = {"mask_token": torch.ones(1, 1, 512), "decoder_embed.weight": torch.ones(512, 768)}
    with pytest.raises(FileFormatError, match=r"1 not the model's \(decoder_embed\.weight\)\.$"):
        load_backbone("mae_vit_base", weights=saved({"model": tensors(vit(*DIMS["base"]), thin=True) | decoder}))


def resnet_keys() -> set[str]:
    keys = {"conv1.weight", *(f"bn1.{part}" for part in NORM_OF_BATCH)}
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            at = f"layer{layer}.{block}"
            for i in (1, 2, 3):
                keys |= {f"{at}.conv{i}.weight", *(f"{at}.bn{i}.{part}" for part in NORM_OF_BATCH)}
        keys |= {f"layer{layer}.0.downsample.0.weight"}
        keys |= {f"layer{layer}.0.downsample.1.{part}" for part in NORM_OF_BATCH}
    return keys


def test_dinos_resnet_is_torchvisions_without_its_classifier(saved):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50().eval()
    theirs.fc = torch.nn.Identity()
    assert set(theirs.state_dict()) == resnet_keys()
    backbone = load_backbone("dino_resnet50", weights=saved(theirs.state_dict()))
    with torch.inference_mode():
        assert torch.allclose(output(backbone), theirs(images()), atol=1e-4)


def test_convnext_before_and_after_its_last_norm(saved):
    torch.manual_seed(0)
    theirs = torchvision.models.convnext_small().eval()
    norm = theirs.classifier[0]
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    path = saved(theirs.state_dict())
    after = load_backbone("convnext_small", weights=path)
    before = load_backbone("convnext_small", weights=path, preset="temi-paper", dataset="stl10")
    with torch.inference_mode():
        pooled = theirs.avgpool(theirs.features(images()))
        assert torch.allclose(output(before), pooled.flatten(1), atol=1e-5)
        assert torch.allclose(output(after), norm(pooled).flatten(1), atol=1e-4)
        assert torch.allclose(norm(output(before)[:, :, None, None]).flatten(1), output(after), atol=1e-4)
        assert torch.allclose(theirs.classifier[2](output(after)), theirs(images()), atol=1e-4)
    assert (after.feature_point, before.feature_point) == (
        "global average pool, after the last norm",
        "global average pool, before the last norm",
    )


def test_another_size_has_resampled_positions(saved):
    from timm.layers import resample_abs_pos_embed

    state = tensors(vit(*DIMS["small"]))
    backbone = load_backbone("msn_vit_small", weights=saved(msn(state)), image_size=96)
    resampled = state | {"pos_embed": resample_abs_pos_embed(state["pos_embed"], [6, 6])}
    assert torch.allclose(output(backbone, 96), features(resampled, images(96), heads=6), atol=1e-4)
    assert backbone.preprocessing.record["own_size"] == [224, 224]
    with pytest.raises(SettingError, match="cannot be built for 4 px"):
        load_backbone("msn_vit_small", weights=saved(msn(state)), image_size=4)


def edited(state: dict, change) -> dict:
    state = dict(state)
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("module.norm.bias"), r"1 missing \(module\.norm\.bias\)\.$"),
        (lambda s: s.update({"module.head.weight": torch.ones(2)}), r"1 not the model's \(module\.head\.weight\)\.$"),
        (
            lambda s: s.update({"norm.bias": s.pop("module.norm.bias")}),
            r"1 missing .*; 1 not the model's \(norm\.bias\)",
        ),
        (
            lambda s: s.update({"module.norm.bias": torch.ones(7)}),
            r"1 of another shape \(module\.norm\.bias \(7,\) for \(384,\)\)\.$",
        ),
        (lambda s: s.clear(), "hold no tensors"),
        (lambda s: s.update({"epoch": 3}), "expected named tensors"),
    ],
)
def test_checkpoints_that_do_not_fit(saved, change, message):
    content = msn(tensors(vit(*DIMS["small"]), thin=True))
    content["target_encoder"] = edited(content["target_encoder"], change)
    with pytest.raises(FileFormatError, match=message) as caught:
        load_backbone("msn_vit_small", weights=saved(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("msn_vit_small", lambda: tensors(vit(*DIMS["small"]), thin=True), "with tensors under 'target_encoder'"),
        ("mocov3_vit_small", lambda: [1], "with tensors under 'state_dict'"),
        ("mocov3_vit_small", lambda: moco(tensors(vit(*DIMS["base"]), thin=True)), "of another shape"),
        ("dino_resnet50", lambda: {"state_dict": tensors(vit(*DIMS["small"]), thin=True)}, "missing"),
        ("convnext_small", lambda: torchvision.models.convnext_tiny().state_dict(), "missing"),
    ],
)
def test_other_files(saved, name, content, message):
    with pytest.raises(FileFormatError, match=message) as caught:
        load_backbone(name, weights=saved(content()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["dino_resnet50", "msn_vit_large", "mocov3_vit_base", "convnext_large", "clip_RN50", "mae_vit_huge"]
)
def test_offline_and_not_here(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(SettingError, match="downloads are forbidden") as caught:
        load_backbone(name, offline=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileFormatError, match="no such file"):
        load_backbone(name, weights=tmp_path / "nothing.pth")


def test_a_file_in_the_cache_that_is_another_one(tmp_path, monkeypatch, saved):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    saved({"a": torch.ones(1)}, "checkpoints/convnext_small-0c510722.pth")
    with pytest.raises(
        FileFormatError, match=r"are not the file of https://.*: .*, expected 0c510722... Delete the file"
    ):
        load_backbone("convnext_small", offline=True)


def test_torchs_cache_needs_no_network(tmp_path, monkeypatch, saved):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    assert list_backbones(pattern="msn_vit_small", at_hand=True) == []
    saved(msn(tensors(vit(*DIMS["small"]), thin=True)), "checkpoints/vits16_800ep.pth.tar")
    assert len(list_backbones(pattern="msn_vit_small", at_hand=True)) == 1
    backbone = load_backbone("msn_vit_small", offline=True)
    assert backbone.weights_origin == "https://dl.fbaipublicfiles.com/msn/vits16_800ep.pth.tar (sha256 of the file)"
