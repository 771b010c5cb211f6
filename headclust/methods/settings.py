"""Settings of stages: listed, explained and changed. They are the fields of a stage and the arguments of its parts."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from headclust.errors import SettingError, unknown
from headclust.training.stages import INHERITED, PARTS, Stage, part_defaults


@dataclass(frozen=True)
class Setting:
    """A setting of a method: its name, its value in a recipe, and what it means."""

    name: str
    value: Any
    meaning: str


def list_settings(stages: tuple[Any, ...]) -> list[Setting]:
    """Every setting of a recipe's stages in order: those of the first stage, then `STAGE.NAME` for those of the others.

    A stage's settings are the fields it uses, then the keyword arguments of its objective, head and optimizer.
    """
    listed = []
    for position, stage in enumerate(stages):
        prefix = _prefix(stage, position)
        listed += [replace(setting, name=prefix + setting.name) for setting in _settings_of(stage, position)]
    return listed


def change_settings(stages: tuple[Any, ...], changes: Mapping[str, Any]) -> tuple[Any, ...]:
    """The stages with settings changed.

    Args:
        stages: Frozen dataclasses.
        changes: New values by setting; text is read as the type of the setting.

    Raises:
        SettingError: No stage has the setting, or the value is not of its type or range.
    """
    for part in PARTS:  # first, as they decide which other settings there are
        stages = tuple(_with_part(stage, position, part, changes) for position, stage in enumerate(stages))
    current = {setting.name: setting.value for setting in list_settings(stages)}
    for name in changes:
        if name not in current:
            raise unknown("setting", name, current)
    parsed = {name: _parse(name, value, like=current[name]) for name, value in changes.items()}
    return tuple(_changed(stage, position, parsed) for position, stage in enumerate(stages))


def _prefix(stage: Any, position: int) -> str:
    return "" if position == 0 else f"{stage.objective.replace('-', '_')}."


def _settings_of(stage: Any, position: int) -> list[Setting]:
    meanings = _meanings(type(stage))  # type: ignore[arg-type]  # a class is hashable
    if not isinstance(stage, Stage):
        return [Setting(field.name, getattr(stage, field.name), meanings[field.name]) for field in fields(stage)]
    hidden = {"objective", *(f"{part}_settings" for part in PARTS), *stage.unused, *(INHERITED if position else ())}
    names = [field.name for field in fields(stage) if field.name not in hidden]
    listed = [Setting(name, getattr(stage, name), meanings[name]) for name in names]
    for part in _own_parts(position):
        build = PARTS[part][getattr(stage, part)]
        given, meanings = getattr(stage, f"{part}_settings"), _meanings(build)
        listed += [
            Setting(name, given.get(name, default), meanings[name]) for name, default in part_defaults(build).items()
        ]
    return listed


def _own_parts(position: int) -> list[str]:
    return [part for part in PARTS if not (position and part in INHERITED)]


def _with_part(stage: Any, position: int, part: str, changes: Mapping[str, Any]) -> Any:
    """The stage with another head or optimizer, which starts from its own defaults."""
    value = changes.get(_prefix(stage, position) + part)
    if part == "objective" or part not in _own_parts(position) or value is None or not isinstance(stage, Stage):
        return stage
    value = _parse(_prefix(stage, position) + part, value, like=getattr(stage, part))
    return stage if value == getattr(stage, part) else replace(stage, **{part: value, f"{part}_settings": {}})


def _changed(stage: Any, position: int, changes: Mapping[str, Any]) -> Any:
    prefix = _prefix(stage, position)
    new = {setting.name: changes.get(prefix + setting.name, setting.value) for setting in _settings_of(stage, position)}
    if not isinstance(stage, Stage):
        return replace(stage, **new)
    for part in _own_parts(position):
        # Defaults too, so that a recorded recipe holds every value.
        defaults = part_defaults(PARTS[part][getattr(stage, part)])
        new[f"{part}_settings"] = {name: new.pop(name) for name in defaults}
    return replace(stage, **new)


def _parse(name: str, value: Any, *, like: Any) -> Any:
    """A value as the type of `like`; text is converted, a whole number may stand for a float.

    Raises:
        SettingError: It is of another type.
    """
    kind = type(like)
    if isinstance(value, str) and kind is not str:
        try:
            value = _TRUTHS[value.lower()] if kind is bool else kind(value)
        except (ValueError, KeyError):
            raise SettingError(f"{name} is {value!r}: expected {_KINDS[kind]}, for example {like}.") from None
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise SettingError(f"{name} is {value!r}: expected {_KINDS[kind]}, for example {like}.")
    return value


_KINDS = {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}
_TRUTHS = {"true": True, "false": False}


@functools.cache
def _meanings(thing: Callable[..., Any]) -> Mapping[str, str]:
    """The `Args` section of a Google-style docstring, by argument; a class inherits those of its bases."""
    meanings = {}
    for part in reversed(getattr(thing, "__mro__", (thing,))):
        section = re.search(r"\n\s*Args:\n(.*?)(\n\s*\n|\Z)", inspect.cleandoc(part.__doc__ or ""), re.DOTALL)
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section.group(1), re.MULTILINE) if section else []
        meanings.update({name: " ".join(text.split()) for name, text in entries})
    return meanings
