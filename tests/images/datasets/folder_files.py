"""Folders of one-pixel images, each of its own color."""

from pathlib import Path

from PIL import Image


def tree(root: Path, *names: str) -> Path:
    """One-pixel images, each of its own color: (number in the list, 0, 0)."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            Image.new("RGB", (1, 1), (number, 0, 0)).save(file, format="PNG")
    return root
