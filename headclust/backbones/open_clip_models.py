"""Image encoders of any open_clip model. https://github.com/mlfoundations/open_clip"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from headclust.backbones.backbone import (
    UNTRAINED,
    Backbone,
    Preprocessing,
    freeze_backbone,
    initialized_on,
    split_transform,
)
from headclust.backbones.entry import PROJECTED, Entry
from headclust.backbones.evaluation import build_preprocessing
from headclust.backbones.weights import (
    OPEN_CLIP_FILES,
    describe_difference,
    hub_file,
    read_state_dict,
    url_file,
)
from headclust.disk import file_sha256
from headclust.errors import FileFormatError, SettingError, one_line, unknown

# Errors of its model classes and checkpoint conversions on sizes, tensors or packages that do not fit.
_MISFIT = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    ImportError,
    OSError,
)


class ImageTower(torch.nn.Module):
    """The image encoder of a model; its output is the projected, unnormalized embedding of `encode_image`."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 (batch, dim) from float32 (batch, 3, height, width)."""
        out: torch.Tensor | tuple[torch.Tensor, ...] = self.visual(images)
        return out[0] if isinstance(out, tuple) else out  # CoCa's encoders return their tokens too


@dataclass(frozen=True, eq=False)
class Pair:
    """Both towers of a model: texts and images have embeddings in one space.

    Attributes:
        backbone: The image tower.
        scale: Factor of the cosines of embeddings, as in training.
        model: The complete model, in eval mode.
        tokenizer: Tokens of texts, as the model takes them.
    """

    backbone: Backbone
    scale: float
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)

    def embed_words(self, words: Sequence[str]) -> torch.Tensor:
        """Embeddings of words in open_clip's seven templates, averaged: float32 (n, dim), of unit length."""
        embeddings: torch.Tensor = open_clip.build_zero_shot_classifier(
            self.model, self.tokenizer, words, open_clip.SIMPLE_IMAGENET_TEMPLATES
        )
        return embeddings.T.float().contiguous()


def load_pair(entry: Entry, *, weights: Path | None, offline: bool) -> Pair:
    """Both towers of ARCH/PRETRAINED; arguments and errors as for `load`."""
    architecture, tag, config = _pretrained_config(entry)
    path, origin = (weights, f"file {weights.name}") if weights else _fetch(entry.name, config, offline=offline)
    model = _build(entry.name, architecture, config, path, None).eval().requires_grad_(False)
    try:
        tokenizer = open_clip.get_tokenizer(architecture)
    except _MISFIT as error:  # a tokenizer that needs a package or a download
        raise SettingError(f"the tokenizer of {entry.name!r} cannot be made: {one_line(error)}") from None
    backbone = _to_backbone(entry, model, architecture, tag, None, origin, file_sha256(path))
    return Pair(backbone, float(model.logit_scale.exp()), model, tokenizer)


def load(entry: Entry, *, weights: Path | None, image_size: int | None, offline: bool) -> Backbone:
    """The image encoder of ARCH/PRETRAINED, with open_clip's preprocessing for these weights, or the entry's.

    QuickGELU is used if the pretrained tag requires it; `open_clip.create_model` alone would only warn.

    Args:
        entry: Its `key` is open_clip's names of the architecture and of the weights.
        weights: A complete checkpoint (image and text) to use instead of the download; all its tensors must fit.
        image_size: Another input size that the model accepts; open_clip resamples position embeddings.
        offline: Forbid downloads.

    Raises:
        SettingError: The name is unknown, the weights are unavailable, or the text encoder needs a package.
        FileFormatError: The weights do not fit the model; the message names the first differing tensors.
    """
    architecture, tag, config = _pretrained_config(entry)
    path, origin = (weights, f"file {weights.name}") if weights else _fetch(entry.name, config, offline=offline)
    model = _build(entry.name, architecture, config, path, image_size)
    return _to_backbone(entry, model, architecture, tag, image_size, origin, file_sha256(path))


def untrained(entry: Entry, *, image_size: int | None, device: str) -> Backbone:
    """The same model with random weights.

    Raises:
        SettingError: The name is unknown, the text encoder needs a package, or the model does not accept the size.
    """
    architecture, tag, config = _pretrained_config(entry)
    try:
        with _quiet(), initialized_on(device):
            model = open_clip.create_model(architecture, device=device, **_arguments(config, image_size))
    except _MISFIT as error:
        size = f" for {image_size} px" if image_size else ""
        raise SettingError(f"model {entry.name!r} cannot be built{size}: {one_line(error)}") from None
    return _to_backbone(entry, model, architecture, tag, image_size, UNTRAINED, "")


def _to_backbone(
    entry: Entry, model: Any, architecture: str, tag: str, image_size: int | None, origin: str, sha256: str
) -> Backbone:
    preprocessing = _preprocessing(entry, model, architecture, tag, image_size)
    tower = ImageTower(model.visual)
    point = entry.feature_point or PROJECTED
    return freeze_backbone(entry.name, tower, preprocessing, feature_point=point, origin=origin, sha256=sha256)


def _arguments(config: dict[str, Any], image_size: int | None) -> dict[str, Any]:
    return {
        "force_quick_gelu": bool(config.get("quick_gelu")),
        "force_image_size": image_size,
        "force_preprocess_cfg": config,
        "pretrained_text": False,
    }


def _build(name: str, architecture: str, config: dict[str, Any], path: Path, image_size: int | None) -> Any:
    arguments = _arguments(config, image_size)
    read_state_dict(path)  # raises a one-line error for files on which open_clip fails with a traceback
    try:
        return open_clip.create_model(architecture, pretrained=str(path), weights_only=True, **arguments)
    except _MISFIT as error:
        problem = one_line(error)
    try:
        with _quiet():
            misfits = describe_difference(
                read_state_dict(path), open_clip.create_model(architecture, pretrained_text=False).state_dict()
            )
    except _MISFIT as error:  # a text encoder that needs a package or another download
        raise SettingError(f"model {name!r} cannot be built: {one_line(error)}") from None
    raise FileFormatError(f"weights {path} do not fit model {name!r}: {misfits or problem}.")


def _preprocessing(entry: Entry, model: Any, architecture: str, tag: str, image_size: int | None) -> Preprocessing:
    config = PreprocessCfg(**model.visual.preprocess_cfg)
    own_size = _pair(open_clip.get_model_config(architecture)["vision_cfg"]["image_size"])
    if entry.evaluation is not None:
        return build_preprocessing(entry.evaluation, image_size=image_size, own_size=own_size)
    settings = {
        "size": _pair(config.size),
        "own_size": own_size,
        "crop": config.resize_mode,
        "interpolation": config.interpolation,
        "mean": config.mean,
        "std": config.std,
    }
    transform = image_transform_v2(config, is_train=False)
    return split_transform(transform, f"open_clip {open_clip.__version__}", f"{architecture}/{tag}", settings)


def _pretrained_config(entry: Entry) -> tuple[str, str, dict[str, Any]]:
    """Architecture, tag, and open_clip's record of the weights.

    Raises:
        SettingError: open_clip does not know the pair.
    """
    architecture, _, tag = entry.key.rpartition("/")
    architecture = architecture.replace("/", "-")  # as OpenAI writes it: ViT-B/32
    if open_clip.get_model_config(architecture) is None or not open_clip.is_pretrained_cfg(architecture, tag):
        names = [f"open_clip:{architecture}/{tag}" for architecture, tag in open_clip.list_pretrained()]
        raise unknown("model", entry.name, names, how="open_clip.list_pretrained() lists all names.")
    return architecture, tag, dict(open_clip.get_pretrained_cfg(architecture, tag))


def _fetch(name: str, config: dict[str, Any], *, offline: bool) -> tuple[Path, str]:
    """The file of weights that open_clip uses, and its origin."""
    if config.get("hf_hub"):
        repo, _, filename = config["hf_hub"].rpartition("/")  # "owner/name/" or "owner/name/file"
        files = (f"{filename.rpartition('.')[0]}.safetensors", filename) if filename else OPEN_CLIP_FILES
        path = hub_file(name, repo, files, offline=offline)
        return path, f"Hugging Face hub {repo}/{path.name}"
    return url_file(name, config["url"], offline=offline), config["url"]


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@contextmanager
def _quiet() -> Iterator[None]:
    """Disable log lines: open_clip warns that a model has no weights, even if only its shapes are needed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
