"""Print pyproject.toml's oldest allowed versions as constraints for a resolver: torch>=2.10 becomes torch==2.10.*."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

EXTRAS = ("offline", "parquet", "graph", "maps", "huggingface")


def floors(pyproject: Path) -> dict[str, str]:
    """The floor of each requirement of the package and of its extras for users, by name.

    Raises:
        ValueError: A requirement is not NAME>=VERSION.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for name in EXTRAS for text in project["optional-dependencies"][name])]
    pairs = {text: re.fullmatch(r"([\w.-]+)>=([0-9.]+)", text) for text in texts}
    for text, pair in pairs.items():
        if pair is None:
            raise ValueError(f"{text!r}: expected NAME>=VERSION, so that the oldest version is known.")
    return dict(pair.groups() for pair in pairs.values())


if __name__ == "__main__":
    for name, floor in floors(Path("pyproject.toml")).items():
        print(f"{name}=={floor}.*")
