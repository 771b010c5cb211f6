import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from headclust import load_features, verbs
from headclust.errors import ConflictError, DataError, SettingError
from headclust.granularity import Curves, GroupOfLevel, Level, Suggestion
from headclust.report.suggestion import lead
from headclust.verbs.suggest import fit_command, write_suggestion


def test_a_page_and_a_picture_lie_beside_the_features(blob_file, blobs, capsys):
    made = verbs.suggest([blob_file])
    low, high = made.suggestion.range
    assert low <= 4 <= high
    assert (made.page, made.picture) == (
        blob_file.with_name("blobs-suggest.html"),
        blob_file.with_name("blobs-suggest.svg"),
    )
    page, picture = made.page.read_text(), made.picture.read_text()
    assert picture in page
    for level in made.suggestion.levels:
        assert f"headclust fit {blob_file} --clusters {level.n_clusters}" in page
        assert all(name in page for group in level.groups for name in group.typical)
    # Imported features do not record where their images are.
    assert capsys.readouterr().err.count("There are no images") == 1
    before = made.page.read_bytes(), made.picture.read_bytes()
    verbs.suggest([blob_file])
    assert (made.page.read_bytes(), made.picture.read_bytes()) == before


def test_the_newest_features_are_the_default(here, write, blobs):
    write("features/blobs-all/gauss.h5", blobs.features)
    made = verbs.suggest(output=here / "out" / "page.html")
    assert made.features[0].as_posix() == "features/blobs-all/gauss.h5"
    assert made.page == here / "out" / "page.html"
    assert made.page.is_file()


def test_only_its_own_files_are_replaced(blob_file, here):
    for name, kind in (("mine.html", "suggestion"), ("page.svg", "picture of a suggestion")):
        (here / name).write_text("mine")
        with pytest.raises(ConflictError, match=f"{name} exists and is not a headclust {kind}"):
            verbs.suggest([blob_file], output=(here / name).with_suffix(".html"))
        assert (here / name).read_text() == "mine"
    assert not (here / "page.html").exists()


def test_what_cannot_be_used_is_one_line(write, blob_file, here):
    equal = write("equal.h5", np.ones((30, 4), np.float32))
    with pytest.raises(DataError, match="all 30 rows are the same"):
        verbs.suggest([equal])
    with pytest.raises(DataError, match="no such file"):
        verbs.suggest([here / "nope.h5"])
    with pytest.raises(SettingError, match="seed -1"):
        verbs.suggest([blob_file], seed=-1)
    assert not list(here.glob("*.html"))


def test_few_rows_give_a_page_without_curves(write, blobs):
    made = verbs.suggest([write("few.h5", blobs.features[:5])])
    assert made.picture is None
    assert "5 different rows are too few" in made.page.read_text()


def test_the_images_are_in_the_page(write, blobs, here):
    ids = [f"{number}.png" for number in range(4)]
    (here / "photos").mkdir()
    for number, name in enumerate(ids):
        Image.new("RGB", (40, 30), (60 * number, 0, 0)).save(here / "photos" / name)
    path = write("four.h5", blobs.features[:4], sample_ids=ids, attributes={"source": str(here / "photos")})
    made = suggestion([GroupOfLevel(2, ids[:2]), GroupOfLevel(2, ids[2:])])
    write_suggestion(here / "page.html", made, load_features(path), [[fit_command([path], 2)]])
    page = (here / "page.html").read_text()
    assert page.count("data:image/webp;base64") == 4
    assert "There are no images" not in page


def suggestion(groups):
    curves = Curves([2, 3], [0.5, 0.4], [0.9, 0.8], [0.2, 0.1], [0.5, 0.4])
    count = sum(group.size for group in groups)
    levels = [Level(len(groups), groups)]
    return Suggestion(count, count, count, 0, ["x"], "", (2, 2), levels, curves, curves, [2])


@pytest.mark.parametrize(
    ("n_samples", "n_distinct", "n_used", "start"),
    [
        (20, 20, 20, "20 images."),
        (240, 120, 120, "240 images, 120 without copies and slight variants."),
        (9_000, 8_000, 5_000, "9,000 images, 8,000 without copies and slight variants, of which 5,000 were looked at."),
    ],
)
def test_the_page_says_which_images_were_looked_at(n_samples, n_distinct, n_used, start):
    made = replace(suggestion([]), n_samples=n_samples, n_distinct=n_distinct, n_used=n_used, curves=None)
    assert lead(made).startswith(start)


HOSTILE = ['<script>alert("1")</script>.png', "line\nend.png", "=cmd|' /C calc'!A0.png", "\udce9.png"]


def test_hostile_names_are_text(write, blobs, here):
    rows = blobs.features[: len(HOSTILE)]
    path = write("hostile.h5", rows, sample_ids=HOSTILE, dataset="<b>&")
    write_suggestion(here / "page.html", suggestion([GroupOfLevel(4, HOSTILE)]), load_features(path), [["a & <b>"]])
    page = (here / "page.html").read_text()
    assert "<script" not in page
    assert "<b>&" not in page
    assert "line\\nend.png" in page
    assert json.dumps(suggestion([GroupOfLevel(4, HOSTILE)]).as_json())
