"""Names by the words in the paths of images, such as those of folders; names of cameras and dates are none."""

from __future__ import annotations

import posixpath
import re
from collections import Counter

import numpy as np

from headclust.filenames import storable_name
from headclust.naming.evidence import Evidence, gathered
from headclust.naming.typical import Members
from headclust.runs.names import is_name

_LEAST_SCORE = 1.25  # nats: of a word that no other group has, half of the images
_LEAST_IMAGES = 2  # of all, with the word
_MOST_WORDS = 4  # of a phrase
_SHORTEST = 3  # letters of a word alone, in ASCII
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
# A code as cameras and programs make it: letters and digits without a break, with two digits or in hexadecimal.
_CODE = re.compile(r"(?<![^\W_])(?=[^\W_]*\d)(?:[0-9a-f]{8,}|[^\W\d_]{0,4}\d{2,}[^\W_]*)(?![^\W_])", re.IGNORECASE)
_CAMERA = frozenset(
    """
    img image images dsc dscn dscf dcim pxl mvi gopr gh gx sam pict pic pics picture pictures photo photos foto fotos
    vid video wa scan copy kopie edited edit new final burst cover hdr raw jpg jpeg png heic tmp untitled unnamed
    file files data train test val valid validation all misc export exported original originals thumb thumbs at
    year month week day jan feb mar apr may jun jul aug sep oct nov dec january february march april june july august
    september october november december monday tuesday wednesday thursday friday saturday sunday
    """.split()  # noqa: SIM905 - one line per word is no better
)
_SMALL = frozenset(("the", "and", "for", "with", "from", "our", "der", "die", "das", "und", "les", "des", "von", "aus"))


def words_of(sample_id: str) -> list[str]:
    """The phrases and words in a path: each folder and the file name as a whole, and the words in them."""
    stem = posixpath.splitext(storable_name(sample_id).replace("\\", "/"))[0]
    names: list[str] = []
    for part in stem.split("/"):
        words = [word for word in _WORD.findall(_CODE.sub(" ", part)) if word.lower() not in _CAMERA]
        while words and not _is_telling(words[0]):
            words.pop(0)
        while words and not _is_telling(words[-1]):
            words.pop()
        if 1 < len(words) <= _MOST_WORDS:
            names.append(" ".join(words))
        names += filter(_is_telling, words)
    return [name for name in dict.fromkeys(names) if is_name(name)]


def _is_telling(word: str) -> bool:
    return (len(word) >= _SHORTEST or not word.isascii()) and word.lower() not in _SMALL


def words_evidence(members: Members) -> Evidence:
    """Shares of the images of each group whose path has a word or a phrase.

    Longer phrases come first, so that of several names for the same images the most telling one is taken.

    Args:
        members: The images of the groups.
    """
    of_image = [{name.casefold(): name for name in words_of(sample_id)} for sample_id in members.sample_ids]
    counts = Counter(key for names in of_image for key in names)
    written = {key: name for names in reversed(of_image) for key, name in names.items()}  # as in the first path
    keys = sorted((key for key in counts if counts[key] >= _LEAST_IMAGES), key=lambda key: (-key.count(" "), key))
    column = {key: place for place, key in enumerate(keys)}
    row = {group: place for place, group in enumerate(members.ids)}
    images = np.zeros((len(members.ids), len(keys)))  # of each group with each word
    for names, group in zip(of_image, members.groups.tolist(), strict=True):
        images[row[group], [column[key] for key in names if key in column]] += 1
    texts = [written[key] for key in keys]
    shares = images / members.sizes[:, None]
    return gathered("words in the paths of the images", texts, [1.0] * len(texts), shares, _LEAST_SCORE)
