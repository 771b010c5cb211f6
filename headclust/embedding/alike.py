"""The backbone and the settings with which a feature file was made, for more images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headclust.backbones import Backbone, load_backbone
from headclust.embedding.settings import EmbedSettings, chosen_precision
from headclust.errors import DataError, SettingError

_MADE_BY = ("feature_dim", "weights_sha256", "feature_point", "preprocessing")


def backbone_like(recorded: Mapping[str, Any], *, weights: Path | None = None, offline: bool = False) -> Backbone:
    """The backbone that a feature file was made with.

    Args:
        recorded: Its attributes with `feature_dim`, or what a run records of it.
        weights: The file with the model's weights, if it was made with one.
        offline: Never download weights.

    Raises:
        SettingError: The features were imported.
        DataError: The weights, dimension, feature point or preprocessing differ here.
    """
    preprocessing = recorded.get("preprocessing")
    if preprocessing is None:
        raise SettingError(
            "the run was fitted on imported features: embed the images in the same way, then use --features."
        )
    size, own, preset = preprocessing["input_size"], preprocessing["own_size"], preprocessing.get("preset")
    backbone = load_backbone(
        recorded["backbone"],
        weights=weights,
        image_size=None if preset or size == own else size[0],
        offline=offline,
        preset=preset,
        dataset=recorded["dataset"],  # a preset depends on the fitted data set
    )
    record = json.loads(json.dumps(backbone.preprocessing.record))  # with the types that reading a file gives
    values = {name: getattr(backbone, name) for name in _MADE_BY} | {"preprocessing": record}
    for name in _MADE_BY:
        if values[name] != recorded.get(name):
            raise DataError(
                f"{backbone.name} here has the {name} {values[name]}, the fit's was {recorded.get(name)}: "
                "embed with the weights and library versions it was fitted with (--weights FILE)."
            )
    return backbone


def settings_like(recorded: Mapping[str, Any], settings: EmbedSettings) -> EmbedSettings:
    """`settings` with batch size, type and precision that a feature file or a run records."""
    return replace(
        settings,
        batch_size=recorded["batch_size"],
        dtype=recorded["dtype"],
        precision=chosen_precision(recorded.get("precision")),
    )
