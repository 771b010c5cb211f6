"""Values that a shell completes after TAB; each function takes what click gives and loads as little as it can."""

from __future__ import annotations

from typing import get_args

from click import Context, Parameter
from click.shell_completion import CompletionItem

from headclust.choices import Method

_METHODS = ("default", *get_args(Method))


def complete_method(context: Context, parameter: Parameter, incomplete: str) -> list[str]:
    """Methods."""
    return [name for name in _METHODS if name.startswith(incomplete)]


def complete_methods(context: Context, parameter: Parameter, incomplete: str) -> list[str]:
    """Methods, after those of a list with commas."""
    before, comma, last = incomplete.rpartition(",")
    named = before.split(",")
    return [before + comma + name for name in _METHODS if name.startswith(last) and name not in named]


def complete_presets(context: Context, parameter: Parameter, incomplete: str) -> list[str]:
    """Presets."""
    return [name for name in ("ours", "authors") if name.startswith(incomplete)]


def complete_model(context: Context, parameter: Parameter, incomplete: str) -> list[str]:
    """Backbones of the catalog."""
    from headclust.backbones import CATALOG

    return [name for name in CATALOG if name.startswith(incomplete)]


def complete_setting(context: Context, parameter: Parameter, incomplete: str) -> list[str]:
    """Settings of the method that the command line names, as NAME=."""
    from headclust.errors import SettingError
    from headclust.methods import Recipe

    try:
        recipe = Recipe.of(context.params.get("method") or "default", context.params.get("preset") or "ours")
    except SettingError:
        return []
    return [f"{name}=" for name in recipe.values if name.startswith(incomplete)]


def complete_path(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, where a source may be either or a name."""
    return [CompletionItem(incomplete, type="file")]
