"""The sources of names: which of them can name a run, and the evidence that each gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.backbones.catalog import find_entry
from headclust.backbones.package_files import entry_of_weights
from headclust.errors import HeadclustError, SettingError
from headclust.naming.classifier import classifier_evidence
from headclust.naming.evidence import Evidence
from headclust.naming.nouns import load_nouns
from headclust.naming.text import text_evidence
from headclust.naming.typical import Members, embed_typical, stored_features
from headclust.naming.words import words_evidence
from headclust.progress import note

if TYPE_CHECKING:
    from headclust.backbones.entry import Entry
    from headclust.choices import NameSource

Rows = list[NDArray[np.float32]]
_ALWAYS_INSTALLED = "efficientnet_lite0"


@dataclass(frozen=True)
class Request:
    """Options of the names to make.

    Attributes:
        source: "classifier", "text" or "words"; None to choose by what there is.
        model: The packaged backbone whose classifier names, or the image-text model; None for that of the features.
        weights: The file with the weights of an image-text model.
        vocabulary: The only words to use; None for those of WordNet.
        device: Where to embed; the best available when None.
        offline: Never download weights.
    """

    source: NameSource | None = None
    model: str | None = None
    weights: Path | None = None
    vocabulary: Sequence[str] | None = None
    device: str | None = None
    offline: bool = False


def find_evidence(request: Request, members: Members, recorded: Sequence[Mapping[str, Any]]) -> Evidence:
    """The evidence for names of groups, by the source that is asked for.

    Otherwise the text tower is used if a model with one is named, then the classifier; then the words in the paths, if
    neither features nor images are there, which a line on stderr says.

    Args:
        request: The source and its options.
        members: The images of the groups.
        recorded: The records of the run's feature files, each with the `path` where it lies now.

    Raises:
        HeadclustError: The source that is asked for cannot be used.
    """
    source = request.source or _source_of(request.model)
    if source == "words":
        if request.vocabulary is not None or request.model is not None:
            raise SettingError("names from words in paths use neither a model nor a vocabulary: leave these out.")
        return words_evidence(members)
    if source == "text":
        return _by_text(request, members, recorded)
    try:
        return _by_classifier(request, members, recorded)
    except HeadclustError as error:
        if source is not None or request.vocabulary is not None:
            raise
        note(f"no classifier can name the groups: {error}")
        return words_evidence(members)


def _source_of(model: str | None) -> NameSource | None:
    """The source that a model is for."""
    if model is None:
        return None
    return "classifier" if find_entry(model).package else "text"


def _by_classifier(request: Request, members: Members, recorded: Sequence[Mapping[str, Any]]) -> Evidence:
    entry, rows = None, None
    for record in recorded:
        at_hand = entry_of_weights(str(record.get("weights_sha256", "")))
        if at_hand is not None and request.model in (None, at_hand.name):
            entry, rows = at_hand, _stored(record, members)
            break
    if entry is None or rows is None:
        from headclust.backbones import load_backbone

        entry = entry or _packaged(request.model)
        backbone = load_backbone(entry.name, offline=request.offline)
        rows = embed_typical(members, recorded[0], backbone, device=request.device)
    return classifier_evidence(entry, rows, load_nouns(), request.vocabulary)


def _packaged(name: str | None) -> Entry:
    """A packaged backbone: the named one, or the one that is always installed.

    Raises:
        SettingError: It is none.
    """
    entry = find_entry(name or _ALWAYS_INSTALLED)
    if not entry.package:
        raise SettingError(f"{name} has no classifier that headclust reads: leave --model out, or use --from text.")
    return entry


def _by_text(request: Request, members: Members, recorded: Sequence[Mapping[str, Any]]) -> Evidence:
    from headclust.backbones import load_pair

    model = request.model or str(recorded[0].get("backbone", ""))
    if not model:
        raise SettingError("names from text need an image-text model: name one with --model.")
    pair = load_pair(model, weights=request.weights, offline=request.offline)
    rows = None
    for record in recorded:
        if record.get("weights_sha256") == pair.backbone.weights_sha256:
            rows = _stored(record, members)
    if rows is None:
        rows = embed_typical(members, recorded[0], pair.backbone, device=request.device)
    return text_evidence(pair, rows, load_nouns(), request.vocabulary)


def _stored(record: Mapping[str, Any], members: Members) -> Rows | None:
    """The stored features of the typical images of each group; None if the feature file cannot be used."""
    try:
        return stored_features(Path(record["path"]), members)
    except HeadclustError as error:
        note(f"the features of the run cannot be used, so typical images are embedded again: {error}")
        return None
