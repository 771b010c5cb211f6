"""Methods: each fits a recipe to feature spaces. Settings are the fields of its stages and arguments of their parts."""

from __future__ import annotations

from headclust.methods.recipe import Recipe
from headclust.methods.registry import DEFAULT_METHOD, METHODS, PRESETS, list_methods
from headclust.methods.result import FitResult
from headclust.methods.settings import Setting

__all__ = ["DEFAULT_METHOD", "METHODS", "PRESETS", "FitResult", "Recipe", "Setting", "list_methods"]
