"""Make the table of nouns that `headclust name` uses, headclust/naming/nouns.tsv.xz, from the files of WordNet 3.0.

The files are those of Debian's package wordnet-base 1:3.0 (https://packages.debian.org/wordnet-base, folder
/usr/share/wordnet), the ids of ImageNet's classes those of timm. Nouns are taken that timm lists, and the hypernyms of
these up to the root; persons, and all kinds of them, are left out. The table has one line per noun:

    id <tab> number in ImageNet-1k, or nothing <tab> words, separated by commas <tab> ids of hypernyms

A word has its count in WordNet's tagged texts (cntlist.rev) behind a colon, if that is not 0. The id is that of
ImageNet: n and the offset in data.noun. A line of the words that are too vague to name photographs ends with "-".

    python benchmarks/nouns.py /usr/share/wordnet -o headclust/naming/nouns.tsv.xz
"""

from __future__ import annotations

import argparse
import importlib.util
import lzma
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import script

from headclust.disk import write_atomically
from headclust.errors import DataError

PERSON = "n00007846"
# Lexicographer files of WordNet whose nouns are not seen: tops, attribute, cognition, quantity, relation, shape, state,
# time. Those of _NAMEABLE are seen all the same.
_ABSTRACT = ("03", "07", "09", "23", "24", "25", "26", "28")
_NAMEABLE = ("animal", "plant", "food")
# First words of things that say nothing of a photograph: nearly every group of made objects is one of "device".
_VAGUE = frozenset(
    """
    adornment article attachment barrier chordate commodity component connection container control conveyance covering
    creation device durables equipment establishment fabric fastener furnishing housing implement institution instrument
    instrumentality invertebrate machine material mechanism medium obstruction part piece placental plate product
    receptacle restraint shelter sheet solid structure substance support surface system unit vertebrate ware weight work
    appliance strengthener kit apparatus plaything way facility area creation decoration excavation sign signal drug
    agent fluid liquid produce foodstuff nutriment ingredient concoction course fare top screen
    action activity arrival change diversion game motion occupation propulsion protection rise location region point
    """.split()  # noqa: SIM905 - one line per word is no better
)
_VAGUE_TERMS = (
    *("physical", "protective covering", "consumer goods", "piece of cloth", "mechanical device", "electronic device"),
    *("electrical device", "supporting structure", "horizontal surface", "flat solid", "building complex"),
    *("electronic equipment", "white goods", "structural member", "cloth covering", "rotating mechanism"),
)
_HOLLOW_VESSEL = "n04531098"  # of the same first word as a ship


@dataclass(frozen=True)
class Synset:
    """A noun of data.noun: its lexicographer file, its words with their counts, its hypernyms."""

    file: str
    words: tuple[tuple[str, int], ...]
    hypernyms: tuple[str, ...]

    @property
    def is_vague(self) -> bool:
        """True if it is too vague to name photographs."""
        first = self.words[0][0]
        if self.file in _ABSTRACT:
            return first not in _NAMEABLE
        return first in _VAGUE or first in _VAGUE_TERMS


def read_synsets(folder: Path) -> dict[str, Synset]:
    """All nouns of WordNet's files, by id."""
    try:
        counts = dict(_count(line) for line in (folder / "cntlist.rev").read_text().splitlines())
        lines = (folder / "data.noun").read_text().splitlines()
    except OSError as error:
        raise DataError(
            f"{folder} holds no files of WordNet ({error.strerror}): name the folder with data.noun."
        ) from None
    return dict(_synset(line, counts) for line in lines if not line.startswith(" "))


def _count(line: str) -> tuple[str, int]:
    """The key of a sense, and its number of occurrences."""
    key, _, count = line.split()
    return key, int(count)


def _synset(line: str, counts: Mapping[str, int]) -> tuple[str, Synset]:
    """A line of data.noun, see wndb(5WN): offset, file, type, words with their lex ids, pointers, gloss."""
    fields = line.partition(" | ")[0].split()
    offset, file, n_words = fields[0], fields[1], int(fields[3], 16)
    pairs = [(fields[4 + 2 * number], int(fields[5 + 2 * number], 16)) for number in range(n_words)]
    start = 4 + 2 * n_words
    pointers = [fields[start + 1 + 4 * number : start + 5 + 4 * number] for number in range(int(fields[start]))]
    words = tuple(
        (word.replace("_", " "), counts.get(f"{word.lower()}%1:{file}:{lex_id:02d}::", 0)) for word, lex_id in pairs
    )
    return f"n{offset}", Synset(file, words, tuple(f"n{to[1]}" for to in pointers if to[0] in ("@", "@i")))


def with_hypernyms(ids: Sequence[str], synsets: Mapping[str, Synset]) -> set[str]:
    """The ids and those of all their hypernyms."""
    closure: set[str] = set()
    waiting = list(ids)
    while waiting:
        current = waiting.pop()
        if current not in closure:
            closure.add(current)
            waiting += synsets[current].hypernyms
    return closure


def table(synsets: Mapping[str, Synset], listed: Sequence[str], classes: Sequence[str]) -> str:
    """The lines of the table, by id.

    Args:
        synsets: Nouns by id.
        listed: Ids of the nouns to take.
        classes: Ids of the classes of ImageNet-1k, in the order of a classifier's outputs.
    """
    number = {synset: place for place, synset in enumerate(classes)}
    lines = []
    for synset in sorted(with_hypernyms([*listed, *classes], synsets)):
        if PERSON in with_hypernyms([synset], synsets):
            continue
        noun = synsets[synset]
        words = ",".join(f"{word}:{count}" if count else word for word, count in noun.words)
        fields = [
            synset,
            str(number.get(synset, "")),
            words,
            " ".join(noun.hypernyms),
            *(["-"] if noun.is_vague or synset == _HOLLOW_VESSEL else []),
        ]
        lines.append("\t".join(fields) + "\n")
    return "".join(lines)


def timm_lists() -> tuple[list[str], list[str]]:
    """The ids of the nouns that timm lists, and those of ImageNet-1k in the order of its classes."""
    spec = importlib.util.find_spec("timm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data" / "_info"
    nouns = [line.partition("\t")[0] for line in (folder / "imagenet_synset_to_lemma.txt").read_text().splitlines()]
    return nouns, (folder / "imagenet_synsets.txt").read_text().split()


def make_tiny(folder: Path) -> Path:
    """Files of WordNet with every noun that timm lists below a single root."""
    nouns, classes = timm_lists()
    ids = sorted({*nouns, *classes, PERSON})
    lines = [f"{name[1:]} 05 n 01 word_{name} 0 001 @ 00000001 n 0000 | a thing\n" for name in ids]
    (folder / "data.noun").write_text("00000001 03 n 01 entity 0 000 | all\n" + "".join(lines))
    (folder / "cntlist.rev").write_text("entity%1:03:00:: 1 11\n")
    return folder


def run(options: argparse.Namespace) -> None:
    """Write the table and print its size."""
    text = table(read_synsets(options.wordnet), *timm_lists())
    content = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    output = options.output or Path(tempfile.mkdtemp(prefix="headclust-tiny-")) / "nouns.tsv.xz"
    write_atomically(output, content)
    print(f"{output}: {text.count(chr(10)):,} nouns, {len(content):,} bytes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wordnet = parser.add_argument("wordnet", type=Path, help="folder with data.noun and cntlist.rev")
    parser.add_argument("-o", "--output", type=Path, help="the table to write")
    return script.answer("nouns", parser, run, arguments, made={wordnet: make_tiny})


if __name__ == "__main__":
    raise SystemExit(main())
