"""The commands that repeat a run, written from what its files record."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from headclust.device import TF32
from headclust.embedding import EmbedSettings
from headclust.embedding.settings import chosen_precision
from headclust.errors import HeadclustError
from headclust.features import Features
from headclust.methods import Recipe
from headclust.report.data import ReportData
from headclust.report.images import Source

_FROM_FILE, _HASHED = "file ", " (sha256 of the file)"  # around the path, where weights of a file are recorded


def repeat(data: ReportData, source: Source) -> list[str]:
    """The commands from the images to the run, or from the features if the images are unknown.

    Lines that begin with # are remarks on what the commands need.
    """
    lines = []
    for space in data.spaces if data.is_fitted else ():
        lines += _embed(space, source)
    return [*lines, *_fit(data.config)]


def _embed(space: Features, source: Source) -> list[str]:
    attributes, path = space.attributes, str(space.path or "features.h5")
    preprocessing = attributes.get("preprocessing")
    if not isinstance(preprocessing, Mapping) or "source" not in attributes:
        return [f"# {shell_word(path)} was not made by headclust embed; its sha256 is {space.sha256}"]
    defaults = asdict(EmbedSettings())
    used = {name: attributes.get(name, default) for name, default in defaults.items()}
    words = [
        *_environment(attributes),
        "headclust",
        "embed",
        "--model",
        str(attributes["backbone"]),
        "--data",
        str(attributes["source"]),
    ]
    split, remarks = attributes.get("split", "all"), []
    if split != "all" or not str(attributes["source"]).startswith("/"):
        words += ["--split", str(split)]
    words += [word for pattern in attributes.get("exclude", ()) for word in ("--exclude", str(pattern))]
    if attributes.get("labels") == "none":
        words += ["--labels", "none"]
    if source.classes:
        words += ["--classes", "classes.txt"]
        remarks.append(f"# classes.txt lists these classes: {', '.join(map(shell_word, space.class_names))}")
    if source.subset:
        words += ["--limit", str(source.subset[0])]
    elif source.problem:
        remarks.append("# the images differ from those embedded, or are missing: add the --limit and --classes used")
    if used["seed"] != defaults["seed"]:
        words += ["--seed", str(used["seed"])]
    words += _preprocessing_options(preprocessing)
    origin = str(attributes.get("weights_origin", ""))
    if origin.startswith(_FROM_FILE):
        words += ["--weights", origin.removeprefix(_FROM_FILE).removesuffix(_HASHED)]
        remarks.append(f"# the weights are the file whose sha256 is {attributes.get('weights_sha256')}")
    if used["n_views"] != defaults["n_views"]:
        words += ["--views", str(used["n_views"]), "--augmentation", str(used["augmentation"])]
    if used["batch_size"] != defaults["batch_size"]:
        words += ["--batch-size", str(used["batch_size"])]
    if used["max_pixels"] != defaults["max_pixels"]:
        words += ["--max-pixels", str(used["max_pixels"])]
    if used["dtype"] != defaults["dtype"]:
        words += ["--dtype", str(used["dtype"])]
    # On a CPU float32 is what the default "auto" gives.
    precision = chosen_precision(attributes.get("precision"))
    if precision == "bfloat16" or (precision == "float32" and attributes.get("device", "cpu") != "cpu"):
        words += ["--precision", precision]
    if space.skipped:
        words += ["--on-error", "skip"]
    return [*remarks, _line([*words, "-o", path])]


def _environment(recorded: Mapping[str, Any]) -> list[str]:
    """The environment variables of a command."""
    return [f"{TF32}=1"] if recorded.get("tf32") == "on" else []


def _preprocessing_options(preprocessing: Mapping[str, Any]) -> list[str]:
    """The options for a preprocessing other than the model's own."""
    if preprocessing.get("preset"):
        return ["--preset", str(preprocessing["preset"])]
    size = preprocessing.get("input_size")
    return ["--image-size", str(size[0])] if size and size != preprocessing.get("own_size") else []


def _fit(config: Mapping[str, Any]) -> list[str]:
    paths = [space["path"] for space in config["features"]]
    method, preset, used = config["method"], config["preset"], dict(config["settings"])
    words = [*_environment(config), "headclust", "fit", *paths, "--method", method]
    words += [] if preset == "ours" else ["--preset", preset]
    try:
        recipe = Recipe.of(method, preset)
    except HeadclustError:
        return [f"# this version has no method {shell_word(method)} with preset {shell_word(preset)}"]
    absent = [f"{name}={used.pop(name)}" for name in recipe.absent(used)]
    remarks = [f"# this version has no {' '.join(map(shell_word, absent))}"] if absent else []
    changed = _changed(recipe, used)
    for name, option in (("n_clusters", "--clusters"), ("n_heads", "--heads")):
        if name in changed:
            words += [option, str(changed.pop(name))]
    for name, value in changed.items():
        words += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return [*remarks, _line([*words, "--seed", str(config["seed"])])]


def _changed(recipe: Recipe, used: dict[str, Any]) -> dict[str, Any]:
    """The settings to give so that a preset becomes the settings used."""
    preset = recipe.values
    changed = {name: value for name, value in used.items() if name == "n_clusters" or preset.get(name) != value}
    try:
        configured = recipe.changed(changed).values
    except HeadclustError:
        return used
    # With another head or optimizer, settings that are not given start from its own defaults.
    return changed if configured == used else used


def _line(words: list[str]) -> str:
    return " ".join(map(shell_word, words))


def shell_word(text: str) -> str:
    """`text` as one word of a shell command, in printable characters only."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = "".join(_escaped(character) for character in text)
    return f"$'{escaped}'"


def _escaped(character: str) -> str:
    """A character in the form it has within $'...', for bash and zsh."""
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    try:
        content = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        content = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in content)
