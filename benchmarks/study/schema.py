"""Fields of a line of a results file and their types. A line that has passed need not be checked again."""

from __future__ import annotations

import math
from typing import Any

from headclust.errors import FileFormatError
from headclust.progress import printable

FORMAT, VERSION = "headclust-results", 1
_WORDS = {"kind": ("fit", "probes"), "status": ("done", "failed")}
# Kinds of values: a type (float: any finite number), None for null, a tuple of alternatives, an object's values by name
# or, with `...`, the kind of all of them.
_TEXTS = (
    "key error study backbone dataset fit_split eval_split preprocessing method preset role curve head_choice "
    "assignments feature_point device"
)
_WHOLES = "seed n_clusters threads resolution feature_dim n_views fit_samples eval_samples n_classes"
_NUMBERS = {...: (float, None)}
_FIELDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(_TEXTS.split(), (str, "text")),
    **dict.fromkeys(_WHOLES.split(), (int, "a whole number")),
    **dict.fromkeys(("text_supervised", "imagenet_labels"), (bool, "true or false")),
    **dict.fromkeys(("value", "load"), (float, "a number")),
    **dict.fromkeys(("scores", "fit_scores", "seconds"), (_NUMBERS, "an object of numbers")),
    **dict.fromkeys(("oracle", "oracle_head"), ({...: (_NUMBERS, None)}, "an object of objects of numbers")),
    "settings": (dict, "an object"),
    "versions": ({...: (str, None)}, "an object of texts"),
    "features": ({...: {"sha256": (str, None)}}, "an object of objects with a sha256"),
    "steps": ({"reached": float, "planned": float, "capped": bool}, "an object with reached, planned and capped"),
}


def check_line(line: Any, where: str) -> None:
    """Raise FileFormatError, with the place `where`, unless a line is a result with fields of the right types."""
    if not isinstance(line, dict) or line.get("format") != FORMAT:
        raise FileFormatError(f"{where} is no result: expected an object with format {FORMAT!r}.")
    if line.get("version") != VERSION:
        raise FileFormatError(f"{where} has version {line.get('version')!r}: this headclust reads {VERSION}.")
    for name in ("kind", "status", "id", *(["key"] if line.get("status") == "done" else [])):
        if not isinstance(line.get(name), str):
            raise FileFormatError(f"{where} records no {name}: expected text.")
    for name, choices in _WORDS.items():
        if line[name] not in choices:
            raise FileFormatError(f"{where}: its {name} is {_shown(line[name])}: expected {' or '.join(choices)}.")
    for name, (kind, words) in _FIELDS.items():
        if not _is(line.get(name), (kind, None)):
            raise FileFormatError(f"{where}: its {name} is {_shown(line[name])}: expected {words}.")


def _is(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return any(_is(value, alternative) for alternative in kind)
    if isinstance(kind, dict) and ... in kind:
        return isinstance(value, dict) and all(_is(each, kind[...]) for each in value.values())
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(_is(value.get(name), each) for name, each in kind.items())
    if kind is float and not isinstance(value, bool):  # very long whole numbers do not fit a float
        return (isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value))
    return value is None if kind is None else isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _shown(value: Any) -> str:
    text = printable(repr(value))
    return text if len(text) <= 40 else f"{text[:40]}..."
