"""Nouns of WordNet 3.0, with their hypernyms: the vocabulary that names are chosen from.

The table nouns.tsv.xz is made by benchmarks/nouns.py. WordNet's license is WORDNET-LICENSE, which the package includes.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

TABLE = Path(__file__).with_name("nouns.tsv.xz")
N_CLASSES = 1000  # of ImageNet-1k


@dataclass(frozen=True)
class Noun:
    """A noun of WordNet, a set of synonyms.

    Attributes:
        id: That of ImageNet: n and the offset in WordNet's data.noun.
        words: Its synonyms, the most common one first.
        is_everyday: True if the first word occurs in this sense in WordNet's tagged texts.
        is_vague: True if it says too little to name photographs, such as "device".
        hypernyms: Ids of the nouns of which it is a kind, if they are in the table.
    """

    id: str
    words: tuple[str, ...]
    is_everyday: bool
    is_vague: bool
    hypernyms: tuple[str, ...]

    @property
    def name(self) -> str:
        """The most common synonym."""
        return self.words[0]


@dataclass(frozen=True)
class Nouns:
    """All nouns by id, and the ids of ImageNet's classes by their numbers; persons are in neither."""

    by_id: Mapping[str, Noun]
    classes: Mapping[int, str]

    def ancestors(self, noun: str) -> list[str]:
        """A noun and all its hypernyms, nearest first, each once."""
        line = [noun]
        for current in line:  # which grows
            line += [above for above in self.by_id[current].hypernyms if above not in line]
        return line

    def closure(self, nouns: Iterable[str]) -> list[str]:
        """The nouns and all their hypernyms, by id."""
        return sorted({above for noun in nouns for above in self.ancestors(noun)})

    @cached_property
    def by_word(self) -> Mapping[str, Sequence[str]]:
        """Ids of the nouns with a word, in lower case; those that are said most often by it first."""
        ids: dict[str, list[tuple[int, str]]] = {}
        for noun in self.by_id.values():
            for place, word in enumerate(noun.words):
                ids.setdefault(word.lower(), []).append((place, noun.id))
        return {word: [noun for _, noun in sorted(pairs)] for word, pairs in ids.items()}


@cache
def load_nouns() -> Nouns:
    """The table of the package."""
    return parse_nouns(lzma.decompress(TABLE.read_bytes()).decode())


def parse_nouns(text: str) -> Nouns:
    """The nouns in the lines of a table: id, class of ImageNet, words with counts, hypernyms, a mark of vague ones."""
    rows = [line.split("\t") for line in text.splitlines()]
    present = {row[0] for row in rows}
    by_id = {}
    for row in rows:
        words = [(word, int(count or 0)) for word, _, count in (cell.partition(":") for cell in row[2].split(","))]
        ordered = _by_use(words)
        by_id[row[0]] = Noun(
            id=row[0],
            words=tuple(word for word, _ in ordered),
            is_everyday=ordered[0][1] > 0,
            is_vague=row[4:] == ["-"],
            hypernyms=tuple(above for above in row[3].split() if above in present),
        )
    return Nouns(by_id, {int(row[1]): row[0] for row in rows if row[1]})


def _by_use(words: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Synonyms with the most common one first: WordNet's first, unless another has more than twice its count."""
    best = max(words, key=lambda pair: pair[1])
    first = best if best[1] > 2 * words[0][1] else words[0]
    return [first, *(pair for pair in words if pair != first)]
