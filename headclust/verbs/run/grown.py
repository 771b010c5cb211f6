"""A folder of images that has changed since its features were made: what `run` does with the rows that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headclust.embedding import EmbedSettings
from headclust.embedding.grow import Growth, compare, followed_source, readable_again
from headclust.errors import ConflictError
from headclust.features import is_folder, load_features
from headclust.images.datasets import ImageSet
from headclust.images.datasets.joined import joined
from headclust.images.datasets.reopen import open_added
from headclust.progress import note, printable


def with_added(images: ImageSet, before: Mapping[str, Any]) -> ImageSet:
    """The images of the source and of the folders that `headclust add` has added to its features.

    Args:
        images: The images of the source.
        before: Attributes of the features that are there.

    Raises:
        ConflictError: One of these folders cannot be opened: its images would be lost.
    """
    if not before.get("added") or before.get("source") != images.source:
        return images
    others, problems = open_added(before)
    for name, problem in problems.items():
        step = "put it back, or choose another folder for the groups with -o"
        raise ConflictError(f"{printable(name)} was added to these groups and cannot be opened: {problem} {step}.")
    note(f"with the images that were added from {', '.join(printable(name) for name, _ in others)}.")
    whole = joined(images, others)
    return replace(whole, record={**whole.record, "added": before["added"]})


def growth_of(
    images: ImageSet, path: Path, attributes: Mapping[str, Any], model: str, settings: EmbedSettings
) -> Growth | None:
    """The growth of the features at `path` to those of `images`; None unless rows can be used again.

    Args:
        images: The images that are listed now.
        path: The feature file.
        attributes: Its attributes; empty without one.
        model: The backbone asked for.
        settings: The settings asked for.

    Raises:
        DataError: Images that were left out cannot be read now either, and the settings allow none.
    """
    expected = {"source": images.source, "split": images.split, "backbone": model, "max_pixels": settings.max_pixels}
    expected["exclude"] = images.record.get("exclude")
    if not path.is_file() or is_folder(path) or any(attributes.get(name) != expected[name] for name in expected):
        return None
    if (attributes.get("n_views") or 0) != settings.n_views:
        return None
    base = load_features(path)
    differences = compare(base, images)
    if not differences.is_certain or (base.labels is None) != (images.labels is None):
        return None
    return followed_source(base, images, readable_again(images, differences, settings))


def is_needed(growth: Growth, *, overwrite: bool) -> bool:
    """True if the features have to change.

    Raises:
        ConflictError: Images were edited or are gone, which only `overwrite` follows.
    """
    images, base, differences = growth.images, growth.base, growth.differences
    changed, removed = differences.changed, differences.removed
    if (len(changed) or len(removed)) and not overwrite:
        parts = []
        if len(changed):
            parts.append(f"{_count(len(changed))} edited ({printable(images.sample_ids[changed[0]])})")
        if len(removed):
            parts.append(f"{_count(len(removed))} no longer there ({printable(base.sample_ids[removed[0]])})")
        raise ConflictError(
            f"{printable(images.source)} has changed since {printable(str(base.path))} was made: {', '.join(parts)}, "
            f"{len(differences.new)} new: --overwrite follows the folder and embeds only what differs; headclust add "
            "takes in the new ones and keeps all groups."
        )
    return bool(differences) or bool(differences.gone and overwrite)


def work(growth: Growth, model: str) -> str:
    """The images that are embedded, and the number of those that stay, as part of a sentence."""
    return f"{_count(len(growth.take))} with {model}; {len(growth.kept):,} stay as they are"


def _count(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"
