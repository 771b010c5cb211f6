"""Colors of the page, light and dark. Clusters differ by color, shape and number, never by color alone."""

from __future__ import annotations

# Eight colors that people of any color vision can tell apart, each with a contrast of 3 or more to `panel`. A search
# maximized their smallest distance (CIELAB) over normal vision and the three deficiencies of Machado, Oliveira and
# Fernandes 2009 (https://doi.org/10.1109/TVCG.2009.113). tests/report/test_palette.py measures it.
LIGHT = ("#004db3", "#cc8000", "#3399e6", "#b3331a", "#664d80", "#809966", "#b38099", "#803333")
DARK = ("#3366e6", "#ffb333", "#00e6cc", "#e63366", "#b33399", "#b3e699", "#cc99ff", "#806600")
SHAPES = ("dot", "square", "ring")  # 24 combinations with eight colors; beyond 24 clusters only the numbers differ

LIGHT_TONES = {
    "page": "#f7f6f3",
    "panel": "#ffffff",
    "raised": "#f1efea",
    "ink": "#1d1e22",
    "muted": "#5c606b",
    "line": "#dfdcd5",
    "accent": "#0a4fae",
    "warn": "#8a4b00",
    "warn-back": "#fdf3e0",
    "heat": "#0a4fae",
}
DARK_TONES = {
    "page": "#101114",
    "panel": "#181a1f",
    "raised": "#22252b",
    "ink": "#ebe9e4",
    "muted": "#a4a8b3",
    "line": "#32353d",
    "accent": "#86b0ff",
    "warn": "#ffc46b",
    "warn-back": "#2b2315",
    "heat": "#2f6fe0",
}


def css_classes(cluster: int) -> str:
    """The CSS classes of a cluster: its color and its shape. The shape changes once all colors are used."""
    return f"c{cluster % len(LIGHT)} {SHAPES[cluster // len(LIGHT) % len(SHAPES)]}"


def theme_css() -> str:
    """The CSS custom properties of both themes: the one the system prefers, unless the reader has chosen."""
    light, dark = _properties(LIGHT, LIGHT_TONES, "light"), _properties(DARK, DARK_TONES, "dark")
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not(:has(#theme-light:checked)) {{ {dark} }} }}\n"
        f":root:has(#theme-dark:checked) {{ {dark} }}\n"
        f"@media print {{ :root:root {{ {light} }} }}\n"
    ) + "\n".join(f".c{number} {{ --c: var(--c{number}) }}" for number in range(len(LIGHT)))


def _properties(colors: tuple[str, ...], tones: dict[str, str], scheme: str) -> str:
    values = {**tones, **{f"c{number}": color for number, color in enumerate(colors)}}
    return f"color-scheme: {scheme}; " + " ".join(f"--{name}: {value};" for name, value in values.items())
