"""Strict loading of a file's tensors into a timm model, also in cases where timm ignores differences."""

from __future__ import annotations

import sys
from collections import UserDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
import torch

from headclust.backbones.backbone import initialized_on
from headclust.backbones.entry import Entry
from headclust.backbones.positions import resample_positions
from headclust.backbones.weights import describe_difference, read_state_dict
from headclust.errors import FileFormatError, one_line

# Disables every other source of weights: with tensors missing, timm would silently download its own.
_NO_DOWNLOAD = {"custom_load": False, "file": None, "url": "", "hf_hub_id": None, "source": None}
# Errors of timm's model classes and checkpoint filters on sizes or tensors that do not fit.
MISFIT = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError)


def load_weights(entry: Entry, config: Any, arguments: dict[str, Any], path: Path) -> Any:
    """The model with a file's weights and without a classifier; no tensor is missing or left over.

    timm does not load strictly if the classifier is left out. So the checkpoint is declared to have none, which keeps
    the loading strict. If that fails, because the checkpoint names its classifier differently, the complete model is
    loaded strictly and its classifier removed afterwards.

    Args:
        entry: An entry with timm's name as its `key`.
        config: timm's record of the weights.
        arguments: Arguments of the architecture.
        path: The file.

    Raises:
        FileFormatError: The file cannot be read, or the weights do not fit.
    """
    state = read_state_dict(path)
    if entry.position_offset and {"pos_embed", "patch_embed.proj.weight"} <= state.keys():
        side = arguments["img_size"] // state["patch_embed.proj.weight"].shape[-1]
        state = {**state, "pos_embed": resample_positions(state["pos_embed"], side, entry.position_offset)}
    ways: list[tuple[dict[str, torch.Tensor], dict[str, Any]]] = [(state, {})]
    if config.num_classes and not entry.projected:
        own = [f"{layer}.{kind}" for layer in _classifiers(config) for kind in ("weight", "bias")]
        headless = {key: value for key, value in state.items() if key not in own}
        ways.insert(0, (headless, {"num_classes": 0, "classifier": None}))
    problem = ""
    for tensors, overlay in ways:
        try:
            model = _create(entry.key, tensors, overlay, arguments)
        except MISFIT as error:
            problem = problem or one_line(error)
            continue
        if not entry.projected:
            model.reset_classifier(0)
        return model
    misfits = _misfits(entry, ways[0][0], arguments)
    raise FileFormatError(f"weights {path} do not fit model {entry.name!r}: {misfits or problem}.")


def _create(key: str, tensors: dict[str, torch.Tensor], overlay: dict[str, Any], arguments: dict[str, Any]) -> Any:
    """timm's model with these tensors.

    timm does not load some families strictly. So the model is created twice: a tensor that is not in the file must have
    the same values both times, otherwise it is random, which means that the file lacks it.

    Raises:
        ValueError: A tensor is missing in the file. timm raises its own errors too.
    """
    config = {"state_dict": _SharedTensors(tensors), **_NO_DOWNLOAD, **overlay}
    arguments = {"pretrained": True, "pretrained_cfg_overlay": config, **arguments}
    model = timm.create_model(key, **arguments)
    others = {name: value for name, value in model.state_dict().items() if name not in tensors}
    if others:
        del model
        model = timm.create_model(key, **arguments)
        again = model.state_dict()
        if not all(torch.equal(again[name], value) for name, value in others.items()):
            raise ValueError("tensors are missing")
    model.pretrained_cfg.pop("state_dict")  # otherwise the tensors of the file stay in memory
    return model


def _misfits(entry: Entry, tensors: dict[str, torch.Tensor], arguments: dict[str, Any]) -> str:
    """Differences between a file's tensors and the model, after timm's translation of their names."""
    with initialized_on("meta"):
        bare = timm.create_model(entry.key, **arguments, **({} if entry.projected else {"num_classes": 0}))
    translate = getattr(sys.modules[timm.models.model_entrypoint(entry.key).__module__], "checkpoint_filter_fn", None)
    with suppress(*MISFIT):  # if it fails, the message uses the names in the file
        tensors = translate(dict(tensors), bare) if translate else tensors
    return describe_difference(tensors, bare.state_dict())


class _SharedTensors(UserDict[str, torch.Tensor]):
    """Tensors that are not copied when timm makes a deep copy of its settings."""

    def __deepcopy__(self, memo: object) -> dict[str, torch.Tensor]:
        return dict(self.data)


def _classifiers(config: Any) -> tuple[str, ...]:
    return (config.classifier,) if isinstance(config.classifier, str) else tuple(config.classifier or ())
