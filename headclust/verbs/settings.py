"""The verb `settings`: the settings of a method in its presets, or the methods."""

from __future__ import annotations

from typing import Any

from headclust.methods import PRESETS, Recipe, list_methods


def settings(method: str | None = None) -> list[dict[str, Any]]:
    """Every setting of a method: `name`, the value in each preset, and its `meaning`; JSON-like records.

    The value is None for a setting that a preset does not use, as it has another optimizer or head.

    Args:
        method: A name in METHODS, or "default". When None, the records are those of the methods: `name`, `presets` and
            `meaning`.

    Raises:
        SettingError: The method does not exist.
    """
    if method is None:
        return list_methods()
    name = Recipe.of(method).method
    presets = dict.fromkeys(("ours", *PRESETS[name]))
    recipes = {preset: Recipe.of(name, preset) for preset in presets}
    meanings = {setting.name: setting.meaning for recipe in recipes.values() for setting in recipe.settings}
    values = {preset: recipe.values for preset, recipe in recipes.items()}
    return [
        {"name": setting, **{preset: values[preset].get(setting) for preset in presets}, "meaning": meaning}
        for setting, meaning in meanings.items()
    ]
