"""Evidence for names: the share of each group that each candidate name covers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.naming.nouns import Noun, Nouns

# Factors of the scores, so that of two names that fit as well the everyday one is taken.
_EVERYDAY, _CLASS, _TECHNICAL, _VAGUE = 1.0, 0.9, 0.85, 0.0
_SHARPER = 2.0  # factor of the logits of a group's mean, which vary less than those of an image


@dataclass(frozen=True, eq=False)
class Evidence:
    """Shares of the groups that names cover.

    Attributes:
        source: Source of the names, for a person.
        texts: The names, each once in any case.
        factors: Factors of their scores, 0 to 1, float64 (n_names,).
        shares: For each group and name, 0 to 1: the mean probability that a typical image of the group shows this, or
            the share of its images whose path has these words; float64 (n_groups, n_names).
        least_score: Score that the name of a group has to reach, in nats; see `contrast`.
        narrower: For some names, by place, the places of names of kinds of the same thing, such as "dog" for "animal".
    """

    source: str
    texts: Sequence[str]
    factors: NDArray[np.float64]
    shares: NDArray[np.float64]
    least_score: float
    narrower: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)


def gathered(
    source: str,
    texts: Sequence[str],
    factors: Sequence[float],
    shares: NDArray[np.float64],
    least_score: float,
    kinds: Sequence[Sequence[int]] | None = None,
) -> Evidence:
    """Evidence in which each text is once: of several things with the same name, a group has the most frequent one.

    Names with a factor of 0 are left out. The first arguments are those of `Evidence`.

    Args:
        source: See there.
        texts: See there; a text may occur several times.
        factors: See there.
        shares: See there.
        least_score: See there.
        kinds: For each name the places of those of which it is a kind; none when None.
    """
    columns: dict[str, list[int]] = {}
    for column, (text, factor) in enumerate(zip(texts, factors, strict=True)):
        if factor > 0:
            columns.setdefault(text.casefold(), []).append(column)
    firsts = [members[0] for members in columns.values()]
    place_of = {column: place for place, members in enumerate(columns.values()) for column in members}
    narrower: dict[int, set[int]] = {}
    for column, broader in enumerate(kinds or ()):
        for above in broader:
            places = place_of.get(above), place_of.get(column)
            if places[0] != places[1] and places[0] is not None and places[1] is not None:
                narrower.setdefault(places[0], set()).add(places[1])
    merged = np.empty((len(shares), len(columns)))
    for place, members in enumerate(columns.values()):
        merged[:, place] = shares[:, members].max(axis=1)
    return Evidence(
        source=source,
        texts=[texts[column] for column in firsts],
        factors=np.array([max(factors[column] for column in members) for members in columns.values()]),
        shares=merged,
        least_score=least_score,
        narrower={place: np.array(sorted(places)) for place, places in narrower.items()},
    )


def probabilities(
    rows: Sequence[NDArray[np.float32]], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Probabilities of classes per group, by a linear classifier and relative to the other groups.

    The mean of two estimates. The first is the mean probability of the group's images: it is diffuse where the images
    are unlike those of the classifier, but its sums over kinds of things are right. The second is the probability of
    the group's mean image: errors of single images cancel, but it takes a single kind where there are several. In both,
    logits are relative to the mean over the other groups, so that a class which the classifier sees everywhere names
    none.

    Args:
        rows: Features of the typical images of each group, float32 (n_images, dim); without images, all are 0.
        weight: Of the classifier, float32 (n_classes, dim).
        bias: Its biases, float32 (n_classes,).

    Returns:
        float64 (n_groups, n_classes); the sum over classes is 1.
    """
    present = [place for place, group in enumerate(rows) if len(group)]
    # Logits of the mean image of each group, (n_present, n_classes): the classifier is linear.
    means = np.stack([rows[place].mean(axis=0) for place in present]) @ weight.T + bias
    # Mean over the other groups, (n_present, n_classes); 0 for a single group, which has no other.
    others = (means.sum(axis=0) - means) / max(1, len(present) - 1)
    of_images = np.stack(
        [
            _softmax(rows[place] @ weight.T + (bias - other)).mean(axis=0)
            for place, other in zip(present, others, strict=True)
        ]
    )
    of_means = _softmax(_SHARPER * (means - others))
    mixed = np.zeros((len(rows), len(weight)))
    mixed[present] = (of_images + of_means) / 2
    return mixed


def _softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    normalized: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return normalized


def noun_evidence(
    source: str,
    nouns: Nouns,
    classes: Sequence[str | None],
    given: NDArray[np.float64],
    least_score: float,
) -> Evidence:
    """Evidence for the nouns of some classes and those above them.

    Vague nouns are never names, technical ones only if they fit clearly better than everyday ones.

    Args:
        source: As in `Evidence`.
        nouns: The table.
        classes: The noun of each class; None if it has none, such as persons, whose share then counts for no noun.
        given: Probabilities of the classes, float64 (n_groups, n_classes).
        least_score: As in `Evidence`.
    """
    ids, shares = noun_shares(nouns, classes, given)
    named, own = [nouns.by_id[noun] for noun in ids], set(classes)
    column = {noun: place for place, noun in enumerate(ids)}
    # An everyday noun stands for broader ones, and a class for those that have other classes too: of horses only
    # "sorrel" is a class, so a group of horses is no evidence of sorrels.
    n_classes = Counter(above for noun in classes if noun is not None for above in nouns.ancestors(noun))
    kinds = [
        [
            column[above]
            for above in nouns.ancestors(noun.id)[1:]
            if noun.is_everyday or (noun.id in own and n_classes[above] > n_classes[noun.id])
        ]
        for noun in named
    ]
    factors = [_factor(noun, is_class=noun.id in own) for noun in named]
    return gathered(source, [noun.name for noun in named], factors, shares, least_score, kinds)


def _factor(noun: Noun, *, is_class: bool) -> float:
    if noun.is_vague:
        return _VAGUE
    return _EVERYDAY if noun.is_everyday else _CLASS if is_class else _TECHNICAL


def noun_shares(
    nouns: Nouns, classes: Sequence[str | None], given: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.float64]]:
    """The nouns above some classes, these included, and their shares: the sums of those of all classes below them.

    Args:
        nouns: The table.
        classes: The noun of each class; None if it has none, such as persons, whose share then counts for no noun.
        given: Probabilities of the classes, float64 (n_groups, n_classes).

    Returns:
        Ids of the nouns, and float64 (n_groups, n_nouns).
    """
    ids = nouns.closure(noun for noun in classes if noun is not None)
    column = {noun: place for place, noun in enumerate(ids)}
    shares = np.zeros((len(given), len(ids)))
    for place, noun in enumerate(classes):
        if noun is not None:
            shares[:, [column[above] for above in nouns.ancestors(noun)]] += given[:, place, None]
    return ids, shares
