"""Which of our own code a result depends on, in one number that text does not change."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import headclust

_PACKAGE = Path(headclust.__file__).parent
# What these do is no part of a result: messages, versions (recorded by themselves) and reading feature files, whose
# content has a checksum of its own.
_LEFT_OUT = (
    "headclust",
    "headclust.errors",
    "headclust.progress",
    "headclust.versions",
    "headclust.disk",
    "headclust.features",
)
# Registries name every choice; a result depends on the one that was made, which the caller says.
_REGISTRIES = ("headclust.model.heads", "headclust.methods", "headclust.training.objectives")


def code_digest(modules: Iterable[str], package: Path = _PACKAGE) -> str:
    """SHA-256 over the syntax trees of modules and of all they import of headclust, in turn.

    Comments, docstrings and layout are no part of it, so that editing text recomputes nothing.

    Args:
        modules: Dotted names in headclust.
        package: The folder of its source.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(modules, package)):
        digest.update(f"{name}\n{_tree(name, package)}\n".encode())
    return digest.hexdigest()


def libraries_of(modules: Iterable[str], package: Path = _PACKAGE) -> set[str]:
    """Names of what modules, and all they import of headclust, import from elsewhere."""
    trees = (_parsed(name, package) for name in _closure(modules, package))
    return {text.partition(".")[0] for tree in trees for text in _imported(tree)} - {"headclust"}


def _closure(modules: Iterable[str], package: Path) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or _is_left_out(name):
            continue
        found.add(name)
        waiting += _imports(name, package)
    return found


def _is_left_out(name: str) -> bool:
    return any(name == left or (left != "headclust" and name.startswith(f"{left}.")) for left in _LEFT_OUT)


@cache
def _imports(name: str, package: Path) -> tuple[str, ...]:
    """Modules of headclust that a module imports, inside functions too."""
    if name in _REGISTRIES:
        return ()
    return tuple(sorted({module for text in _imported(_parsed(name, package)) if (module := _module(text, package))}))


def _imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of what is imported; the last part may be a module or something in one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(text: str, package: Path) -> str | None:
    """The module of headclust that a dotted name is, or is in; None for other libraries."""
    if text.partition(".")[0] != "headclust":
        return None
    return text if _source(text, package) else text.rpartition(".")[0]


def _source(name: str, package: Path) -> Path | None:
    stem = package.joinpath(*name.split(".")[1:])
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


@cache
def _tree(name: str, package: Path) -> str:
    """A module's syntax as text, without docstrings and line numbers; of a registry only what it defines itself."""
    tree = copy.deepcopy(_parsed(name, package))
    if name in _REGISTRIES:
        tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _parsed(name: str, package: Path) -> ast.Module:
    path = _source(name, package)
    if path is None:
        raise ModuleNotFoundError(f"{name}: no source below {package}")
    return ast.parse(path.read_text(encoding="utf-8"))
