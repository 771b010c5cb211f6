import html
import re

import numpy as np
import pytest
from PIL import Image

from headclust.estimators import gallery


@pytest.fixture
def paths(tmp_path):
    made = []
    for number in range(6):
        made.append(tmp_path / f"{number}.png")
        Image.new("RGB", (300, 200), (40 * number, 0, 0)).save(made[-1])
    return made


def test_the_largest_cluster_and_its_surest_images_come_first(paths):
    shown = gallery(paths, [5, 5, 1, 5, 1, -1], [0.1, 0.9, 0.3, 0.5, 0.4, 1], n_images=2)
    assert shown.clusters == ((5, 3, (str(paths[1]), str(paths[3]))), (1, 2, (str(paths[4]), str(paths[2]))))
    page = shown._repr_html_()
    assert re.findall(r"<h4>(.*?)</h4>", page) == ["Cluster 5, 3 images", "Cluster 1, 2 images"]
    assert re.findall(r"alt='(.*?)'", page) == ["1.png", "3.png", "4.png", "2.png"]
    assert page.count("src='data:image/") == 4
    assert "http" not in page
    assert gallery(paths, [5, 5, 1, 5, 1, -1]).clusters[0][2] == tuple(str(paths[row]) for row in (0, 1, 3))


def test_what_is_left_out_is_said(paths):
    page = gallery(paths, range(6), n_clusters=2)._repr_html_()
    assert page.count("<img") == 2
    assert "4 smaller clusters are not shown" in page


def test_names_stay_text(tmp_path):
    names = ["<script>alert(1)<.png", "'onerror='x.png", "a\x1b[2J\nb.png", "\udcff.png", "&amp;.png"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        with path.open("wb") as file:
            Image.new("RGB", (2, 2)).save(file, format="PNG")
    shown = gallery(paths, [0] * 5)
    page = shown._repr_html_()
    assert page.count("<img") == 5
    assert "<script" not in page
    alts = [html.unescape(alt) for alt in re.findall(r"<img alt='([^']*)' title='", page)]
    assert alts == ["<script>alert(1)<.png", "'onerror='x.png", r"a\x1b[2J\nb.png", r"\udcff.png", "&amp;.png"]
    page.encode()
    assert len(str(shown).splitlines()) == 1
    assert str(shown).isprintable()


def test_what_cannot_be_read_is_told_in_its_place(paths):
    paths[1].write_text("<b>text")
    paths[2].unlink()
    page = gallery(paths, [0] * 6)._repr_html_()
    assert page.count("<img") == 4
    assert "1.png: not an image" in page
    assert "2.png: no such file" in page


def test_a_long_name_is_cut(tmp_path):
    page = gallery([tmp_path / ("x" * 250)], [0])._repr_html_()
    assert "x" * 80 in page
    assert "x" * 81 not in page


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"labels": [0]}, "6 paths"),
        ({"labels": [0.0] * 6}, "labels float64"),
        ({"labels": [0] * 6, "confidence": [1]}, "confidence of shape"),
        ({"labels": [0] * 6, "n_images": 0}, "expected 1 to 1000 images"),
        ({"labels": [0] * 6, "n_images": 51, "n_clusters": 20}, "expected 1 to 1000 images"),
    ],
)
def test_what_does_not_go_together(paths, options, line):
    with pytest.raises(ValueError, match=line):
        gallery(paths, **options)


def test_large_images_make_a_small_page(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert len(gallery([tmp_path / "noise.png"], [0])._repr_html_()) < 40_000
