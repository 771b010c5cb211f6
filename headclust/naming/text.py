"""Names by the text tower of an image-text model: any words, whose embeddings are cached."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.disk import write_atomically
from headclust.naming.classifier import LEAST_SCORE
from headclust.naming.evidence import Evidence, gathered, noun_evidence, probabilities
from headclust.naming.nouns import Noun, Nouns
from headclust.progress import bar, note

if TYPE_CHECKING:
    from headclust.backbones.open_clip_models import Pair

_BATCH = 64  # words


def text_evidence(
    pair: Pair, rows: Sequence[NDArray[np.float32]], nouns: Nouns, vocabulary: Sequence[str] | None = None
) -> Evidence:
    """Shares of the groups that words cover, by an image-text model.

    Args:
        pair: The model.
        rows: Its features of the typical images of each group, float32 (n_images, dim).
        nouns: The table of nouns, whose everyday ones and ImageNet's classes are the words unless others are given.
        vocabulary: The words to use instead; they are no kinds of each other.
    """
    source = f"text tower of {pair.backbone.name}"
    if vocabulary is not None:
        given = _probabilities(pair, rows, vocabulary)
        return gathered(f"{source}, own words", vocabulary, [1.0] * len(vocabulary), given, LEAST_SCORE)
    words = default_words(nouns)
    return noun_evidence(source, nouns, words, _probabilities(pair, rows, _phrases(nouns, words)), LEAST_SCORE)


def default_words(nouns: Nouns) -> list[str]:
    """Ids of ImageNet's classes and of all everyday nouns that are not vague, ascending."""
    classes = set(nouns.classes.values())
    return sorted(
        noun.id for noun in nouns.by_id.values() if noun.id in classes or (noun.is_everyday and not noun.is_vague)
    )


def _phrases(nouns: Nouns, ids: Sequence[str]) -> list[str]:
    """The name of each noun; those that share it are told apart by a second word or by the next kind."""
    named = [nouns.by_id[noun] for noun in ids]
    counts = Counter(noun.name.casefold() for noun in named)
    return [noun.name if counts[noun.name.casefold()] == 1 else _told_apart(nouns, noun) for noun in named]


def _told_apart(nouns: Nouns, noun: Noun) -> str:
    if len(noun.words) > 1:
        return f"{noun.name}, {noun.words[1]}"
    return f"{noun.name}, a kind of {nouns.by_id[noun.hypernyms[0]].name}" if noun.hypernyms else noun.name


def _probabilities(pair: Pair, rows: Sequence[NDArray[np.float32]], words: Sequence[str]) -> NDArray[np.float64]:
    """Probabilities of the words per group, (n_groups, n_words): softmax of the scaled cosines."""
    unit = [group / np.maximum(np.linalg.norm(group, axis=1, keepdims=True), 1e-12) for group in rows]
    weight = pair.scale * embed_words(pair, words)
    return probabilities(unit, weight, np.zeros(len(weight), np.float32))


def embed_words(pair: Pair, words: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings of words, float32 (n, dim), of unit length; those computed before are read from the user's cache.

    The file has the checksum of the model's weights, of open_clip's version and of the words in its name.
    """
    import torch
    from safetensors.torch import load_file, save

    library = pair.backbone.preprocessing.record["library"]  # name and version
    key = "\n".join([pair.backbone.name, pair.backbone.weights_sha256, library, *words])
    path = cache_folder() / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}.safetensors"
    with suppress(Exception):  # no such file, or a damaged one, which is made again
        embeddings: NDArray[np.float32] = load_file(path)["words"].numpy()
        if len(embeddings) == len(words):
            return embeddings
    note(f"embedding {len(words):,} words with {pair.backbone.name}; they are stored in {path}.")
    with bar("embedding words", len(words)) as advance:
        blocks = []
        for start in range(0, len(words), _BATCH):
            block = words[start : start + _BATCH]
            blocks.append(pair.embed_words(block))
            advance(len(block))
    made = torch.cat(blocks)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({"words": made}))
    except OSError as error:
        note(f"the words cannot be stored for the next time: {error}.")
    return made.numpy()


def cache_folder() -> Path:
    """The folder of stored embeddings of words, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "headclust", "words").expanduser()
