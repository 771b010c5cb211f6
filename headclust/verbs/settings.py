"""The verb `settings`: the settings of a method in its presets."""

from __future__ import annotations

from typing import Any

from headclust.methods import PRESETS, Recipe


def settings(method: str) -> list[dict[str, Any]]:
    """Every setting of a method: `name`, the value in each preset, and its `meaning`; JSON-like records.

    The value is None for a setting that a preset does not use, as it has another optimizer or head.

    Raises:
        SettingError: The method does not exist.
    """
    name = Recipe.of(method).method
    presets = dict.fromkeys(("ours", *PRESETS[name]))
    recipes = {preset: Recipe.of(name, preset) for preset in presets}
    meanings = {setting.name: setting.meaning for recipe in recipes.values() for setting in recipe.settings}
    values = {preset: recipe.values for preset, recipe in recipes.items()}
    return [
        {"name": setting, **{preset: values[preset].get(setting) for preset in presets}, "meaning": meaning}
        for setting, meaning in meanings.items()
    ]
