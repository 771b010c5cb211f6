"""The last line of a verb that left out many images."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from headclust.features import Features
from headclust.progress import last_note, percent, printable

MANY = 0.1  # share of the images above which a command ends with this line and another exit code
_MOST_REASONS = 3
_NUMBER = re.compile(r"\d+(\.\d+)?")


def warn_if_many(features: Features, place: str) -> None:
    """Log at the end that more than `MANY` of the images were left out: the main reasons, the list, the next step.

    Args:
        features: The features of the images.
        place: Place of the list of images that were left out, as a sentence without a period.
    """
    count, total = len(features.left_out), features.n_samples + len(features.left_out)
    if count <= MANY * total:
        return
    passing = sum(image.reason.passing for image in features.left_out)
    again = f"tries {passing:,} of them again, and files" if passing else "tries files again"
    last_note(
        f"WARNING: {count:,} of {total:,} images ({percent(count / total)}) were left out: "
        f"{main_reasons(image.reason for image in features.left_out)}. {place}. "
        f"After mending the cause, repeat the same command: it {again} that were replaced."
    )


def listed_in(path: Path) -> str:
    """The sentence that names the list of images that a feature file leaves out."""
    return f"headclust info {shlex.quote(str(path))} --json lists them as skipped"


def main_reasons(reasons: Iterable[str]) -> str:
    """The most frequent reasons with their counts; reasons that differ only in numbers count as equal."""
    counts, texts = Counter[str](), dict[str, str]()
    for reason in reasons:
        key = _NUMBER.sub("0", reason)
        counts[key] += 1
        texts.setdefault(key, printable(reason).removesuffix("."))
    main = [f"{count:,} x {texts[key]}" for key, count in counts.most_common(_MOST_REASONS)]
    others = counts.total() - sum(count for _, count in counts.most_common(_MOST_REASONS))
    return "; ".join([*main, f"{others:,} x other reasons"] if others else main)
