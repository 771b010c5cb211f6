"""Digest of the code that a result depends on: unchanged if modules move, changed if they compute something else.

A Merkle digest: the syntax tree of a module has neither docstrings, comments nor annotations. Its imports are removed,
and each use of an imported name is replaced by that name and the digest of the module that defines it, so the
place and name of a module do not change a digest. Imports that only annotations use do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections import ChainMap
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import headclust

_PACKAGE = Path(headclust.__file__).parent
# No part of a result: messages, versions (recorded by themselves), disk access, feature files (their content has a
# checksum) and the resolution of settings (whose values are in the key of a cell).
_LEFT_OUT = ("errors", "progress", "versions", "disk", "features", "methods.settings", "methods.recipe")
# Registries import every choice; a result depends only on the choice that was made, which the caller names.
_REGISTRIES = ("headclust.model.heads", "headclust.methods.registry", "headclust.training.objectives")


def code_digest(modules: Iterable[str], package: Path = _PACKAGE) -> str:
    """SHA-256 in hex over modules, by dotted name, and all they use of headclust, whose source is in `package`."""
    return hashlib.sha256("\n".join(_code(name, package)[0] for name in modules).encode()).hexdigest()


def libraries_of(modules: Iterable[str], package: Path = _PACKAGE) -> set[str]:
    """Names of the libraries that modules, and all they use of headclust, import."""
    return {library for name in modules for library in _code(name, package)[1]}


@cache
def _code(module: str, package: Path) -> tuple[str, frozenset[str]]:
    """Digest of a module, and the libraries that it and the modules it uses import."""
    tree = _parsed(module, package)
    if module in _REGISTRIES:
        tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    reader = _Reader(package)
    return hashlib.sha256(ast.dump(reader.visit(tree)).encode()).hexdigest(), frozenset(reader.libraries)


class _Reader(ast.NodeTransformer):
    """A transformer that removes code without effect, and adds to imported names the digest of their module."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.names: ChainMap[str, str] = ChainMap()  # of the module, and of each function around the current node
        self.libraries: set[str] = set()

    def visit(self, node: ast.AST) -> Any:
        """The node as it enters the digest; None if it does not."""
        match node:
            case ast.Import() | ast.ImportFrom():
                module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                for alias in node.names:
                    home = _home(module, alias.name, self.package) if module else (alias.name, "")
                    self._bind(alias.asname or alias.name, *home)
                return None
            case ast.Name():
                return ast.Name(self.names.get(node.id, node.id), node.ctx)
            case ast.Attribute() if (module := ast.unparse(node)) in self.names:  # after `import headclust.module`
                return ast.Name(self.names[module], node.ctx)
            case (
                ast.Expr(value=ast.Constant(value=str()))
                | ast.Assign(targets=[ast.Name(id="__all__")])
                | ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[])
            ):
                return None
            case ast.AnnAssign() if not isinstance(node.annotation, ast.Slice):
                return self.visit(ast.Assign([node.target], node.value)) if node.value else None
            case ast.ClassDef():  # the annotation makes a field of a dataclass, whatever its type
                for part in node.body:
                    if isinstance(part, ast.AnnAssign):
                        part.annotation = ast.Slice()
            case ast.arg():
                node.annotation = None
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                node.returns = None
                outer, self.names = self.names, self.names.new_child()
                self.generic_visit(node)
                self.names = outer
                return node
        return self.generic_visit(node)

    def _bind(self, name: str, module: str, name_there: str) -> None:
        library = module.partition(".")[0]
        if library != "headclust":
            self.libraries.add(library)
            self.names[name] = f"{module}.{name_there}"
        elif _is_left_out(module):
            self.names[name] = name_there
        else:
            digest, libraries = _code(module, self.package)
            self.libraries |= libraries
            self.names[name] = f"{name_there}@{digest}"


def _home(module: str, name: str, package: Path) -> tuple[str, str]:
    """The module that defines an imported name, through re-exports, and the name there; empty for a module itself."""
    if module.partition(".")[0] != "headclust":
        return module, name
    if _source(f"{module}.{name}", package):
        return f"{module}.{name}", ""
    imported = {} if _is_left_out(module) else _imported(module, package)
    return _home(*imported[name], package) if name in imported else (module, name)


@cache
def _imported(module: str, package: Path) -> dict[str, tuple[str, str]]:
    """Names that a module imports: the module each is from, and its name there."""
    imports = (node for node in _parsed(module, package).body if isinstance(node, ast.ImportFrom))
    return {alias.asname or alias.name: (node.module or "", alias.name) for node in imports for alias in node.names}


def _is_left_out(module: str) -> bool:
    return module == "headclust" or f"{module}.".startswith(tuple(f"headclust.{name}." for name in _LEFT_OUT))


def _source(name: str, package: Path) -> Path | None:
    stem = package.joinpath(*name.split(".")[1:])
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _parsed(name: str, package: Path) -> ast.Module:
    path = _source(name, package)
    if path is None:
        raise ModuleNotFoundError(f"{name}: no source below {package}")
    return ast.parse(path.read_text(encoding="utf-8"))
