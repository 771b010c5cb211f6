"""Names that are valid file names in every script, numbered paths, and names as written into files."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
# What a file system forbids, and characters that change the order in which the others are shown.
_FORBIDDEN = re.compile('[\x00-\x1f\x7f-\x9f/\\\\:*?"<>|\u2028-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]+')
_AWKWARD = re.compile(r"[\x00-\x7f\s](?<![\w.=+@-])")  # in a name that is typed into a shell
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)", re.IGNORECASE)  # Windows
_JOINER, _FLAG_LETTERS = "\u200d", range(0x1F1E6, 0x1F200)
# Skin tones, tags of flags, half-width marks, and the Thai and Lao vowels that are letters by category.
_EXTENDING = (range(0x1F3FB, 0x1F400), range(0xE0020, 0xE0080), range(0xFF9E, 0xFFA0), (0x0E33, 0x0EB3))
_LONGEST_TYPED = 200
LONGEST = 255  # bytes of a name on common file systems


def file_name(text: str) -> str:
    """`text` as a name for a path that is typed: as `folder_name`, without spaces and ASCII punctuation but `._=+@-`.

    At most 200 bytes, so that an ending fits behind it.
    """
    text = unicodedata.normalize("NFC", readable(text))
    plain = re.sub(f"(?:{_AWKWARD.pattern})+", "-", text)
    return folder_name(plain.strip("-."), _LONGEST_TYPED)


def folder_name(text: str, max_bytes: int = LONGEST) -> str:
    r"""`text` as a name that is valid on every file system and shown by file managers; letters of every script stay.

    Replaced by "-" are control characters, `/ \ : * ? " < > |` and characters that set the direction of text. Spaces at
    either end and dots at the end are removed, "_" precedes a dot at the start and names that Windows reserves, and a
    name is cut between characters as readers see them. A name of nothing visible becomes "unnamed". Composed (NFC).

    Args:
        text: Any text; bytes that are not UTF-8, as `os.fsdecode` gives them, become `xe9`.
        max_bytes: Longest name, in bytes of UTF-8.
    """
    name = _FORBIDDEN.sub("-", unicodedata.normalize("NFC", readable(text))).strip().rstrip(". ")
    if not any(unicodedata.category(character)[0] in "LNPS" for character in name.replace("-", "")):
        return "unnamed"
    if name.startswith(".") or _RESERVED.match(name):
        name = f"_{name}"
    return shorten(name, max_bytes).rstrip(". ")


def shorten(text: str, max_bytes: int) -> str:
    """The start of `text` of at most `max_bytes`, cut between characters as readers see them (grapheme clusters)."""
    n_bytes = list(itertools.accumulate(len(os.fsencode(character)) for character in text))
    if not text or n_bytes[-1] <= max_bytes:
        return text
    end = sum(total <= max_bytes for total in n_bytes)
    return text[: next((cut for cut in range(end, 0, -1) if _is_boundary(text, cut)), end)]


def _is_boundary(text: str, cut: int) -> bool:
    """True if a reader sees text[:cut] and text[cut:] as separate characters; approximates Unicode's annex 29."""
    before, after = text[cut - 1], text[cut]
    if unicodedata.category(after) in ("Mn", "Mc", "Me") or any(ord(after) in marks for marks in _EXTENDING):
        return False
    # A joiner connects emoji; a virama connects the letters of a conjunct.
    if _JOINER in (before, after) or unicodedata.combining(before) == 9:
        return False
    if ord(before) in _FLAG_LETTERS and ord(after) in _FLAG_LETTERS:
        letters = itertools.takewhile(lambda character: ord(character) in _FLAG_LETTERS, reversed(text[:cut]))
        return sum(1 for _ in letters) % 2 == 0  # two letters are one flag
    return True


def same_name_key(name: str) -> str:
    """A key that is equal for names that differ only in case, composition or invisible characters."""
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", visible).casefold())


def readable(text: str) -> str:
    r"""`text` with bytes that are not UTF-8 escaped, as \xe9."""
    return storable_name(text).encode(errors="surrogateescape").decode(errors="backslashreplace")


def storable_name(name: str) -> str:
    """`name` with surrogates that represent no byte (U+DC80-U+DCFF do) replaced by the bytes of their UTF-8 code."""
    if _NO_BYTE.search(name):
        return name.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    return name


def numbered(path: Path, *, suffix: str = "") -> Iterator[Path]:
    """`path`, then `path` with -2, -3 ... at the end of its name, before `suffix`, without end.

    Args:
        path: The path without a number; its name ends with `suffix`.
        suffix: The end of the name that follows the number, for example ".h5"; the number is last by default.
    """
    yield path
    stem = path.name.removesuffix(suffix)
    for number in itertools.count(2):
        yield path.with_name(f"{stem}-{number}{suffix}")
