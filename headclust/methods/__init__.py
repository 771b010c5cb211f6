"""Methods by name: each fits a recipe to feature spaces. Settings are the recipes' own keyword arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from headclust.errors import SettingError, unknown
from headclust.methods import kmeans, temi
from headclust.methods.result import FitResult
from headclust.objectives import OBJECTIVES

METHODS: dict[str, Callable[..., FitResult]] = {"temi": temi.fit, "kmeans": kmeans.fit}
PRESETS: dict[str, dict[str, tuple[Any, ...]]] = {"temi": dict(temi.PRESETS), "kmeans": dict(kmeans.PRESETS)}
DEFAULT_METHOD = "temi"  # what the name "default" stands for

__all__ = ["DEFAULT_METHOD", "METHODS", "PRESETS", "FitResult", "Setting", "configure", "find_preset", "settings"]


@dataclass(frozen=True)
class Setting:
    """A setting of a method: its name, its value in a recipe, and what it means."""

    name: str
    value: Any
    meaning: str


def find_preset(method: str, preset: str) -> tuple[str, tuple[Any, ...]]:
    """The method's own name (`default` resolved) and the recipe of one of its presets.

    Raises:
        SettingError: There is no such method or preset.
    """
    name = DEFAULT_METHOD if method == "default" else method
    if name not in METHODS:
        raise unknown("method", method, [*METHODS, "default"])
    if preset not in PRESETS[name]:
        raise unknown("preset", preset, PRESETS[name])
    return name, PRESETS[name][preset]


def settings(recipe: tuple[Any, ...]) -> list[Setting]:
    """Every setting of a recipe's stages, in order: the stage's fields, then its objective's keyword arguments."""
    listed: dict[str, Setting] = {}
    for stage in recipe:
        for name, value, meaning in _settings_of(stage):
            listed.setdefault(name, Setting(name, value, meaning))
    return list(listed.values())


def configure(recipe: tuple[Any, ...], changes: Mapping[str, Any]) -> tuple[Any, ...]:
    """The recipe with settings changed, in every stage that has them.

    Args:
        recipe: Stages.
        changes: New values by setting; text is read as the type the setting has.

    Raises:
        SettingError: No stage has the setting, or the value is not of its type or range.
    """
    known = {setting.name: setting.value for setting in settings(recipe)}
    for name in changes:
        if name not in known:
            raise unknown("setting", name, known)
    parsed = {name: _parse(name, value, like=known[name]) for name, value in changes.items()}
    return tuple(_changed(stage, parsed) for stage in recipe)


def _settings_of(stage: Any) -> list[tuple[str, Any, str]]:
    meanings = _meanings(type(stage))
    listed = []
    for field in fields(stage):
        if field.name == "objective_settings":
            continue
        listed.append((field.name, getattr(stage, field.name), meanings.get(field.name, "")))
    if hasattr(stage, "objective_settings"):
        objective = OBJECTIVES[stage.objective]
        meanings = _meanings(objective)
        for name, parameter in inspect.signature(objective).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                value = stage.objective_settings.get(name, parameter.default)
                listed.append((name, value, meanings.get(name, "")))
    return listed


def _changed(stage: Any, changes: Mapping[str, Any]) -> Any:
    own = {field.name for field in fields(stage)}
    mine = {name: value for name, value in changes.items() if name in own}
    if hasattr(stage, "objective_settings"):
        # Defaults too, so that a recorded recipe says everything.
        theirs = {name: value for name, value, _ in _settings_of(stage) if name not in own}
        mine["objective_settings"] = {name: changes.get(name, value) for name, value in theirs.items()}
    return replace(stage, **mine)


def _parse(name: str, value: Any, *, like: Any) -> Any:
    wanted = type(like)
    if isinstance(value, str) and wanted is not str:
        try:
            value = wanted(value)
        except ValueError:
            raise SettingError(f"{name} is {value!r}: wanted {_KINDS[wanted]}, for example {like}.") from None
    if wanted is float and isinstance(value, int):
        value = float(value)
    if type(value) is not wanted:
        raise SettingError(f"{name} is {value!r}: wanted {_KINDS[wanted]}, for example {like}.")
    return value


_KINDS = {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}


def _meanings(thing: type) -> dict[str, str]:
    """The `Args` section of a Google-style docstring, by argument."""
    section = re.search(r"\n\s*Args:\n(.*?)(\n\s*\n|\Z)", inspect.getdoc(thing) or "", re.DOTALL)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
