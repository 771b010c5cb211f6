"""The verb `models`: the backbones of the catalog."""

from __future__ import annotations

from typing import Any

from headclust.backbones import list_backbones


def models(
    pattern: str | None = None,
    *,
    at_hand: bool | None = None,
    text: bool | None = None,
    labels: bool | None = None,
    max_parameters: int | None = None,
) -> list[dict[str, Any]]:
    """The backbones of the catalog, one JSON-like record each.

    Args:
        pattern: Only names that match, such as "dino*".
        at_hand: Only those whose weights are on this machine, or are not.
        text: Only those trained with text, or without.
        labels: Only those trained with ImageNet's labels, or without any of them.
        max_parameters: Only those of at most so many parameters, without the classifier.
    """
    return list_backbones(
        pattern=pattern,
        at_hand=at_hand,
        text_supervised=text,
        imagenet_labels=labels,
        max_parameters=max_parameters,
    )
