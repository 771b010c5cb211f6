"""The backbones of the TEMI authors' code, with its names and its weights.

https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (model_builders/model_builders.py; `clip_ViT-B/32`: README.md). The
preprocessing is that of each model's own authors; the TEMI authors' preprocessing is the preset of `temi_paper.py`.
"""

from __future__ import annotations

from headclust.backbones.entry import CLS, POOLED, PROJECTED, Checkpoint, Entry, cropped

_META = "https://dl.fbaipublicfiles.com"

_DINO = cropped("https://github.com/facebookresearch/dino/blob/main/eval_knn.py", 256, "bicubic")
_MSN = cropped("https://github.com/facebookresearch/msn/blob/main/linear_eval.py", 256, "bilinear")
_MOCO = cropped("https://github.com/facebookresearch/moco-v3/blob/main/main_lincls.py", 256, "bilinear")
_MAE = cropped("https://github.com/facebookresearch/mae/blob/main/main_linprobe.py", 256, "bicubic")


def _dino(name: str, key: str, dim: int, parameters: int) -> Entry:
    return Entry(
        name,
        "timm",
        key,
        CLS,
        evaluation=_DINO,
        hub=f"timm/{key}",
        dim=dim,
        input_size=224,
        parameters=parameters,
        license="Apache-2.0",
    )


def _supervised(name: str, key: str, feature_point: str, dim: int, parameters: int) -> Entry:
    # With timm's preprocessing: the AugReg ViTs were trained with mean = std = 0.5.
    return Entry(
        name,
        "timm",
        key,
        feature_point,
        hub=f"timm/{key}",
        dim=dim,
        input_size=224,
        parameters=parameters,
        imagenet_labels=True,
        license="Apache-2.0",
    )


def _convnext(name: str, digest: str, resize: int, dim: int, parameters: int) -> Entry:
    return Entry(
        name,
        "published",
        f"torchvision:{name}",
        "global average pool, after the last norm",
        evaluation=cropped(
            "https://github.com/pytorch/vision/blob/main/torchvision/models/convnext.py", resize, "bilinear"
        ),
        checkpoint=Checkpoint(f"https://download.pytorch.org/models/{name}-{digest}.pth", left_out=("classifier.2.",)),
        dim=dim,
        input_size=224,
        parameters=parameters,
        imagenet_labels=True,
        license="BSD-3-Clause",
        weights_sha256=digest,
    )


def _msn(name: str, file: str, size: str, dim: int, parameters: int) -> Entry:
    # The target encoder, from distributed training ("module."), without its projection head (module.fc.*).
    return Entry(
        name,
        "published",
        f"timm:vit_{size}_patch16_224",
        f"{CLS}, of the target encoder",
        evaluation=_MSN,
        checkpoint=Checkpoint(f"{_META}/msn/{file}.pth.tar", "target_encoder", "module.", ("module.fc.",)),
        dim=dim,
        input_size=224,
        parameters=parameters,
        license="CC-BY-NC-4.0",
    )


def _moco(name: str, file: str, size: str, dim: int, parameters: int) -> Entry:
    # The momentum encoder, as in the TEMI code; MoCo's own linear evaluation uses the base encoder. Both sizes have 12
    # heads (vits.py of MoCo v3), although timm's small ViT has 6; the tensors fit both.
    other = ("module.base_encoder.", "module.momentum_encoder.head.", "module.predictor.")
    return Entry(
        name,
        "published",
        f"timm:vit_{size}_patch16_224",
        f"{CLS}, of the momentum encoder",
        arguments={"num_heads": 12},
        evaluation=_MOCO,
        checkpoint=Checkpoint(
            f"{_META}/moco-v3/{file}/{file}.pth.tar", "state_dict", "module.momentum_encoder.", other
        ),
        dim=dim,
        input_size=224,
        parameters=parameters,
        license="CC-BY-NC-4.0",
    )


def _clip(name: str, key: str, hub: str, dim: int, parameters: int) -> Entry:
    # OpenAI's URLs contain the SHA-256 of their files, but open_clip uses converted files, whose SHA-256 is
    # unpublished.
    return Entry(
        name,
        "open_clip",
        f"{key}/openai",
        PROJECTED,
        projected=True,
        hub=f"timm/{hub}.openai",
        dim=dim,
        input_size=224,
        parameters=parameters,
        text_supervised=True,
        license="MIT",
    )


def _mae(name: str, key: str, dim: int, parameters: int) -> Entry:
    return Entry(
        name,
        "timm",
        key,
        CLS,
        evaluation=_MAE,
        hub=f"timm/{key}",
        dim=dim,
        input_size=224,
        parameters=parameters,
        license="CC-BY-NC-4.0",
    )


_DINO_RESNET50 = Entry(
    "dino_resnet50",
    "published",
    "timm:resnet50",
    POOLED,
    evaluation=_DINO,
    checkpoint=Checkpoint(f"{_META}/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"),
    dim=2048,
    input_size=224,
    parameters=23_508_032,
    license="Apache-2.0",
)

AUTHORS: tuple[Entry, ...] = (
    _DINO_RESNET50,
    _dino("dino_vits16", "vit_small_patch16_224.dino", 384, 21_665_664),
    _dino("dino_vitb16", "vit_base_patch16_224.dino", 768, 85_798_656),
    _supervised("timm_resnet50", "resnet50.ram_in1k", POOLED, 2048, 23_508_032),
    _supervised("timm_vit_small_patch16_224", "vit_small_patch16_224.augreg_in21k_ft_in1k", CLS, 384, 21_665_664),
    _supervised("timm_vit_base_patch16_224", "vit_base_patch16_224.augreg_in21k_ft_in1k", CLS, 768, 85_798_656),
    _supervised("timm_vit_large_patch16_224", "vit_large_patch16_224.augreg_in21k_ft_in1k", CLS, 1024, 303_301_632),
    _convnext("convnext_small", "0c510722", 230, 768, 49_454_688),
    _convnext("convnext_base", "6075fbad", 232, 1024, 87_566_464),
    _convnext("convnext_large", "ea097f82", 232, 1536, 196_230_336),
    _msn("msn_vit_small", "vits16_800ep", "small", 384, 21_665_664),
    _msn("msn_vit_base", "vitb16_600ep", "base", 768, 85_798_656),
    _msn("msn_vit_large", "vitl16_600ep", "large", 1024, 303_301_632),
    _moco("mocov3_vit_small", "vit-s-300ep", "small", 384, 21_665_664),
    _moco("mocov3_vit_base", "vit-b-300ep", "base", 768, 85_798_656),
    _clip("clip_ViT-B/16", "ViT-B-16", "vit_base_patch16_clip_224", 512, 86_192_640),
    _clip("clip_ViT-L/14", "ViT-L-14", "vit_large_patch14_clip_224", 768, 303_966_208),
    _clip("clip_RN50", "RN50", "resnet50_clip", 1024, 38_316_896),
    _mae("mae_vit_base", "vit_base_patch16_224.mae", 768, 85_798_656),
    _mae("mae_vit_large", "vit_large_patch16_224.mae", 1024, 303_301_632),
    _mae("mae_vit_huge", "vit_huge_patch14_224.mae", 1280, 630_764_800),
    _clip("clip_ViT-B/32", "ViT-B-32", "vit_base_patch32_clip_224", 512, 87_849_216),
)
