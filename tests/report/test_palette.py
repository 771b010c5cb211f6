import itertools

import numpy as np
import pytest

from headclust.report.palette import DARK, DARK_TONES, LIGHT, LIGHT_TONES, SHAPES, css_classes, theme_css

# Colors as seen by people without one kind of cone: Machado, Oliveira and Fernandes 2009, table 1, severity 1.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color):
    part = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    ratio = TO_XYZ @ np.clip(rgb, 0, 1) / TO_XYZ.sum(1)
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(first, second):
    high, low = sorted((TO_XYZ[1] @ linear(first), TO_XYZ[1] @ linear(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measures_themselves():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # a known pair
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


@pytest.mark.parametrize(("colors", "tones"), [(LIGHT, LIGHT_TONES), (DARK, DARK_TONES)], ids=["light", "dark"])
def test_colors_differ_for_every_color_vision(colors, tones):
    assert min(contrast(color, tones["panel"]) for color in colors) >= 3
    for matrix in VISION.values():
        seen = [lab(np.asarray(matrix) @ linear(color)) for color in colors]
        assert min(np.linalg.norm(first - second) for first, second in itertools.combinations(seen, 2)) >= 24


def test_css_classes_differ_until_all_are_used():
    count = len(LIGHT) * len(SHAPES)
    assert len({css_classes(cluster) for cluster in range(count)}) == count == 24
    assert css_classes(count) == css_classes(0)


def test_both_themes_define_the_same_properties():
    assert LIGHT_TONES.keys() == DARK_TONES.keys()
    css = theme_css()
    assert css.count("--panel:") == 4
    assert css.count("--c7:") == 4
