"""Names by the classifier of a packaged backbone: ImageNet's 1,000 classes and the nouns above them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headclust.backbones.entry import Entry
from headclust.errors import DataError
from headclust.naming.evidence import Evidence, gathered, noun_evidence, noun_shares, probabilities
from headclust.naming.nouns import N_CLASSES, Nouns
from headclust.progress import note, printable

LEAST_SCORE = 1.75  # nats: of a name that no other group has, a share of 62 %


def classifier_evidence(
    entry: Entry, rows: Sequence[NDArray[np.float32]], nouns: Nouns, vocabulary: Sequence[str] | None = None
) -> Evidence:
    """Shares of the groups that nouns cover, by the classifier of a packaged backbone.

    Args:
        entry: The backbone.
        rows: Its features of the typical images of each group, float32 (n_images, dim).
        nouns: The table of nouns.
        vocabulary: The only words to use; those that are no noun above a class are left out, with a line on stderr.

    Raises:
        DataError: No word of the vocabulary is such a noun.
        HeadclustError: The package cannot be used.
    """
    from headclust.backbones.package_files import read_classifier

    weight, bias = (tensor.numpy() for tensor in read_classifier(entry))
    classes = [nouns.classes.get(number) for number in range(N_CLASSES)]
    given, source = probabilities(rows, weight, bias), f"classifier of {entry.name}"
    if vocabulary is None:
        return noun_evidence(source, nouns, classes, given, LEAST_SCORE)
    ids, shares = noun_shares(nouns, classes, given)
    texts, columns = _words_as_nouns(nouns, ids, vocabulary)
    return gathered(f"{source}, own words", texts, [1.0] * len(texts), shares[:, columns], LEAST_SCORE)


def _words_as_nouns(nouns: Nouns, ids: Sequence[str], vocabulary: Sequence[str]) -> tuple[list[str], list[int]]:
    """Each word with the column of each noun that it names."""
    column = {noun: place for place, noun in enumerate(ids)}
    pairs = [
        (word, column[noun]) for word in vocabulary for noun in nouns.by_word.get(word.lower(), ()) if noun in column
    ]
    unknown = sorted(set(vocabulary) - {word for word, _ in pairs})
    if not pairs:
        raise DataError(
            f"the classifier knows none of the {len(unknown)} words, such as {printable(unknown[0])!r}: use words for "
            "ImageNet's classes or kinds of them, or --from text with a model that reads any words."
        )
    if unknown:
        count = f"{len(unknown)} of {len(vocabulary)} words"
        note(f"{count} name no class of the classifier and are left out, such as {printable(unknown[0])!r}.")
    return [word for word, _ in pairs], [place for _, place in pairs]
