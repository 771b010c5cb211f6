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
        at_hand: True for only those whose weights are on this machine, False for only the others; None for all.
        text: True for only those trained with text, False for only the others; None for all.
        labels: True for only those trained with ImageNet's labels, False for only the others; None for all.
        max_parameters: Largest number of parameters, without the classifier; None for no limit.
    """
    return list_backbones(
        pattern=pattern,
        at_hand=at_hand,
        text_supervised=text,
        imagenet_labels=labels,
        max_parameters=max_parameters,
    )
