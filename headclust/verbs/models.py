"""The verb `models`: the backbones of the catalog."""

from __future__ import annotations

from typing import Any

from headclust.backbones import list_backbones, near_names
from headclust.errors import SettingError

_ELSE = "Any timm:NAME or open_clip:ARCH/PRETRAINED is one too; 'headclust models' lists ours."


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
        pattern: Only names that hold every word of it, in any case, such as "dino small"; a word with *, ? or [ is
            matched with the whole name, such as "dino*".
        at_hand: True for only those whose weights are on this machine, False for only the others; None for all.
        text: True for only those trained with text, False for only the others; None for all.
        labels: True for only those trained with ImageNet's labels, False for only the others; None for all.
        max_parameters: Largest number of parameters, without the classifier; None for no limit.

    Raises:
        SettingError: There is none; the message has the most similar names.
    """
    rows = list_backbones(
        pattern=pattern,
        at_hand=at_hand,
        text_supervised=text,
        imagenet_labels=labels,
        max_parameters=max_parameters,
    )
    if not rows and (pattern is None or list_backbones(pattern=pattern)):
        raise SettingError("no backbone has all of these properties: leave out one of the options.")
    if not rows:
        near = ", ".join(near_names(pattern or ""))
        raise SettingError(
            f"no backbone has {pattern!r} in its name: {f'did you mean {near}? ' if near else ''}{_ELSE}"
        )
    return rows
