"""What a line of a results file may say, and of which type. Whoever reads a line that passed need not look again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from headclust.errors import FileFormatError
from headclust.progress import printable

FORMAT, VERSION = "headclust-results", 1
_REQUIRED = ("kind", "status", "id")
_WORDS = {"kind": ("fit", "probes"), "status": ("done", "failed")}


def check_line(line: Any, where: str) -> None:
    """Makes sure that a line is a result, and that what it says of known fields has their types.

    Args:
        line: What was read.
        where: Whose line it is, for the error.

    Raises:
        FileFormatError: It is none, of another version, or damaged.
    """
    if not isinstance(line, dict) or line.get("format") != FORMAT:
        raise FileFormatError(f"{where} is no result: wanted an object with format {FORMAT!r}.")
    if line.get("version") != VERSION:
        raise FileFormatError(f"{where} has version {line.get('version')!r}: this headclust reads {VERSION}.")
    for name in _REQUIRED:
        if not isinstance(line.get(name), str):
            raise FileFormatError(f"{where} does not say its {name}.")
    for name, words in _WORDS.items():
        if line[name] not in words:
            raise FileFormatError(f"{where}: its {name} is {_shown(line[name])}: wanted {' or '.join(words)}.")
    if line["status"] == "done" and not isinstance(line.get("key"), str):
        raise FileFormatError(f"{where} is done and does not say its key.")
    for name, (is_valid, wanted) in _FIELDS.items():
        if line.get(name) is not None and not is_valid(line[name]):
            raise FileFormatError(f"{where}: its {name} is {_shown(line[name])}: wanted {wanted}.")


def refuse_constant(name: str) -> float:
    """For `json.loads(parse_constant=...)`: NaN and infinities are no JSON, and no result.

    Raises:
        FileFormatError: Always.
    """
    raise FileFormatError(f"holds {name}, which is no number of a result.")


def _shown(value: Any) -> str:
    text = printable(repr(value))
    return text if len(text) <= 40 else f"{text[:40]}..."


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # A whole number of a thousand digits is no double, and no result either.
    return (_is_whole(value) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _of(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Objects of which every value is null or passes."""
    return lambda value: isinstance(value, dict) and all(one is None or is_valid(one) for one in value.values())


def _are_steps(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    numbers = all(_is_number(value.get(name)) for name in ("reached", "planned"))
    return numbers and isinstance(value.get("capped"), bool)


def _are_hashes(value: Any) -> bool:
    known: Mapping[str, Any] = value if isinstance(value, dict) else {"": None}
    return all(isinstance(one, dict) and isinstance(one.get("sha256"), str | None) for one in known.values())


_TEXTS = (
    "key error study backbone dataset fit_split eval_split preprocessing method preset role curve head_choice "
    "assignments feature_point device"
)
_WHOLES = "seed n_clusters threads resolution feature_dim n_views fit_samples eval_samples n_classes"
_Rule = tuple[Callable[[Any], bool], str]
_FIELDS: dict[str, _Rule] = {
    **dict.fromkeys(_TEXTS.split(), (_is_text, "text")),
    **dict.fromkeys(_WHOLES.split(), (_is_whole, "a whole number")),
    **dict.fromkeys(("text_supervised", "imagenet_labels"), (_is_bool, "true or false")),
    **dict.fromkeys(("value", "load"), (_is_number, "a number")),
    **dict.fromkeys(("scores", "fit_scores", "seconds"), (_of(_is_number), "an object of numbers")),
    "settings": (_is_object, "an object"),
    "versions": (_of(_is_text), "an object of texts"),
    "features": (_are_hashes, "an object of objects with a sha256"),
    **dict.fromkeys(("oracle", "oracle_head"), (_of(_of(_is_number)), "an object of objects of numbers")),
    "steps": (_are_steps, "an object with reached, planned and capped"),
}
