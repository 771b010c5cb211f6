"""Names of a package that load on first use, so that importing the package loads nothing else (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def load_on_first_use(package: str, homes: Mapping[str, str]) -> None:
    """Give a package names that load the module that defines them when they are first used.

    Args:
        package: The `__name__` of the package.
        homes: Name -> the module in the package that defines it. A module may have the name of what it defines: the
            package's attribute of that name is then never the module.
    """

    class Package(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name not in homes:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
            setattr(self, name, value)
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            if name in homes and isinstance(value, ModuleType):  # Python sets a module that was imported in the package
                value = getattr(value, name)
            super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *homes})

    sys.modules[package].__class__ = Package
