"""The commands that make the same again, written from what the files record."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from headclust.errors import HeadclustError
from headclust.features import Features
from headclust.methods import Recipe
from headclust.report.data import ReportData
from headclust.report.images import Source

_BATCH_SIZE = 64  # the default of `headclust embed`
_FROM_FILE, _HASHED = "file ", " (sha256 of the file)"  # how weights that were named are recorded


def repeat(data: ReportData, source: Source) -> list[str]:
    """The commands from the images to the run, or from the features where nothing is known of the images.

    Lines that begin with # say what no command can.
    """
    lines = []
    for space in data.spaces if data.own else ():
        lines += _embed(space, source)
    return [*lines, *_fit(data.config)]


def _embed(space: Features, source: Source) -> list[str]:
    stated, path = space.attributes, str(space.path or "features.h5")
    preprocessing = stated.get("preprocessing")
    if not isinstance(preprocessing, Mapping) or "source" not in stated:
        return [f"# {shell_word(path)} was made elsewhere; its sha256 is {space.sha256}"]
    words = ["headclust", "embed", "--model", str(stated["backbone"]), "--data", str(stated["source"])]
    split, remarks = stated.get("split", "all"), []
    if split != "all" or not str(stated["source"]).startswith("/"):
        words += ["--split", str(split)]
    if source.classes:
        words += ["--classes", "classes.txt"]
        remarks.append(f"# classes.txt names these classes: {', '.join(map(shell_word, space.class_names))}")
    if source.subset:
        words += ["--limit", str(source.subset[0])]
    elif source.problem:
        remarks.append("# the images cannot be checked against what was embedded: add --limit and --classes as then")
    if stated.get("seed", 0):
        words += ["--seed", str(stated["seed"])]
    words += _prepared(preprocessing)
    origin = str(stated.get("weights_origin", ""))
    if origin.startswith(_FROM_FILE):
        words += ["--weights", origin.removeprefix(_FROM_FILE).removesuffix(_HASHED)]
        remarks.append(f"# the weights are the file whose sha256 is {stated.get('weights_sha256')}")
    if stated.get("n_views", 0):
        words += ["--views", str(stated["n_views"]), "--augmentation", str(stated.get("augmentation", "standard"))]
    if stated.get("batch_size", _BATCH_SIZE) != _BATCH_SIZE:
        words += ["--batch-size", str(stated["batch_size"])]
    if stated["dtype"] != "float32":
        words += ["--dtype", stated["dtype"]]
    if stated.get("precision") == "float32" and stated.get("device", "cpu") != "cpu":
        words += ["--precision", "float32"]
    if space.skipped:
        words += ["--on-error", "skip"]
    return [*remarks, _line([*words, "-o", path])]


def _prepared(preprocessing: Mapping[str, Any]) -> list[str]:
    """What tells the preprocessing from the model's own."""
    if preprocessing.get("preset"):
        return ["--preset", str(preprocessing["preset"])]
    size = preprocessing.get("input_size")
    return ["--image-size", str(size[0])] if size and size != preprocessing.get("own_size") else []


def _fit(config: Mapping[str, Any]) -> list[str]:
    paths = [space["path"] for space in config["features"]]
    method, preset, used = config["method"], config["preset"], dict(config["settings"])
    words = ["headclust", "fit", *paths, "--method", method]
    words += [] if preset == "ours" else ["--preset", preset]
    try:
        recipe = Recipe.of(method, preset)
    except HeadclustError:
        return [f"# this version knows no method {shell_word(method)} with preset {shell_word(preset)}"]
    changed = _changed(recipe, used)
    for name, option in (("n_clusters", "--clusters"), ("n_heads", "--heads")):
        if name in changed:
            words += [option, str(changed.pop(name))]
    for name, value in changed.items():
        words += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return [_line([*words, "--seed", str(config["seed"])])]


def _changed(recipe: Recipe, used: dict[str, Any]) -> dict[str, Any]:
    """The settings to name so that a preset becomes what was used."""
    usual = recipe.values
    changed = {name: value for name, value in used.items() if name == "n_clusters" or usual.get(name) != value}
    try:
        found = recipe.changed(changed).values
    except HeadclustError:
        return used
    # With another head or optimizer, settings that are not named start from its own defaults.
    return changed if found == used else used


def _line(words: list[str]) -> str:
    return " ".join(map(shell_word, words))


def shell_word(text: str) -> str:
    """`text` as one word of a shell command, in printable characters only."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = "".join(_escaped(character) for character in text)
    return f"$'{escaped}'"


def _escaped(character: str) -> str:
    """A character within $'...', as bash and zsh read it."""
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    try:
        content = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        content = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in content)
