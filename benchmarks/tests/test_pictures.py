import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from study import pictures
from study.pictures import draw
from study.summary import summarize

from headclust.errors import HeadclustError, SettingError

from .lines import failed_line, fit_line, point_line, probe_line

METHODS = (
    "kmeans",
    "spectral",
    "temi",
    "wmi",
    "pmi",
    "temi-scan",
    "scan",
    "imc-swav",
    "clc",
    "turtle",
    "ward",
    "leiden",
)


@pytest.fixture
def lines(tmp_path):
    labels = np.arange(60) % 3
    (tmp_path / "cells").mkdir()
    np.savez(tmp_path / "cells" / "x.npz", eval=labels, eval_labels=labels, class_names=["cat", "dog", "cow"])
    return [
        *(fit_line("kmeans", 0.60 + 0.01 * seed, seed=seed) for seed in range(3)),
        *(fit_line("temi", 0.70 + 0.02 * seed**2, seed=seed, assignments="cells/x.npz") for seed in range(3)),
        fit_line("temi", 0.5, preset="authors", settings={"max_seconds": 120.0}),
        fit_line("kmeans", 0.5, backbone="b2"),
        fit_line("temi", 0.4, backbone="b2"),
        failed_line("turtle"),
        *(point_line("n_heads", heads, 0.5 + heads / 100) for heads in (1, 4, 16)),
        *(point_line("beta", beta, beta) for beta in (0.5, 0.6)),
        probe_line(),
        probe_line(backbone="b2"),
    ]


def texts(path):
    """Every text of an SVG."""
    return [element.text for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_what_is_drawn(lines, tmp_path):
    written = draw(lines, tmp_path / "pictures", assignments_below=tmp_path)
    assert [path.name for path in written] == [
        *("gain.svg", "knn.svg", "seconds.svg", "ablations.svg", "confusion-digits.svg")
    ]
    said = {path.stem: texts(path) for path in written}
    assert {"efficientnet_lite0", "b2", "digits", "points of ACC", "temi (authors, max_seconds 120)  "} <= set(
        said["gain"]
    )
    assert {"kNN accuracy (%)", "ACC (%)", "digits", "temi", "kmeans"} <= set(said["knn"])
    assert any(text.startswith("seconds a fit takes") for text in said["seconds"])
    assert {"heads", "beta", "16", "0.6", "ACC (%)"} <= set(said["ablations"])
    assert {"cat", "dog", "cow", "100", "class", "% of the class"} <= set(said["confusion-digits"])
    for name, found in said.items():
        assert any(len(text) > 20 for text in found), f"{name} has a title"


def marks(axes):
    """Every mark of a picture, as points."""
    points = [point for line in axes.lines if line.get_linestyle() == "None" for point in line.get_xydata().tolist()]
    return sorted(map(tuple, points))


def test_marks_lie_where_the_summary_says(lines):
    rows = summarize(lines).rows
    (axes,) = pictures.gains(summarize(lines)).axes
    labels = [text.get_text().strip() for text in axes.get_yticklabels()]
    assert labels == ["b2", "temi", "efficientnet_lite0", "temi", "temi (authors, max_seconds 120)"]
    gained = rows[rows["accuracy_gain"].notna()].set_index(["backbone", "preset"])
    order = [("b2", "ours"), ("efficientnet_lite0", "ours"), ("efficientnet_lite0", "authors")]
    expected = sorted(zip(100 * gained.loc[order, "accuracy_gain"], (1, 3, 4), strict=True))
    assert np.array(marks(axes)) == pytest.approx(np.array(expected))
    bars = axes.lines[2].get_xydata()
    low, high = gained.loc[("efficientnet_lite0", "ours"), ["accuracy_gain_low", "accuracy_gain_high"]]
    assert bars[:2] == pytest.approx(np.array([[100 * low, 3], [100 * high, 3]]))
    assert len(bars) == 3
    scores = sorted(100 * rows["accuracy"].dropna())
    (seconds,) = pictures.PICTURES["seconds"](summarize(lines)).axes
    assert np.array(marks(seconds)) == pytest.approx(np.array([(12.5, score) for score in scores]))
    (knn,) = pictures.PICTURES["knn"](summarize(lines)).axes
    assert np.array(marks(knn)) == pytest.approx(np.array([(90, score) for score in scores]))
    heads, beta = pictures.ablations(summarize(lines)).axes
    assert heads.lines[0].get_xydata() == pytest.approx(np.array([[1, 51], [4, 54], [16, 66]]))
    assert beta.lines[0].get_xydata() == pytest.approx(np.array([[0.5, 50], [0.6, 60]]))


def test_the_same_results_give_the_same_bytes_and_no_date(lines, tmp_path):
    first, second = (draw(lines, tmp_path / name, assignments_below=tmp_path) for name in "ab")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert not re.search(rb"dc:date|20\d\d-\d\d", one.read_bytes())


def test_the_users_own_style_changes_nothing(lines, tmp_path):
    import matplotlib as mpl

    lines = [line for line in lines if line["method"] == "temi" and line["role"] == "ablation"]
    expected = draw(lines, tmp_path / "a", assignments_below=tmp_path)[0].read_bytes()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert draw(lines, tmp_path / "b", assignments_below=tmp_path)[0].read_bytes() == expected
        assert mpl.rcParams["font.size"] == 30


def test_pictures_of_a_whole_table_stay_small(tmp_path):
    generator = np.random.default_rng(0)
    lines = []
    for backbone in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        for dataset in ("digits", "fashion-mnist", "cifar10"):
            lines.append(probe_line(backbone=backbone, dataset=dataset))
            for method in METHODS:
                for seed in range(3):
                    accuracy, preset = generator.uniform(0.4, 0.8), "authors" if seed == 2 else "ours"
                    seconds = {"fit": generator.uniform(1, 99)}
                    where = {"backbone": backbone, "dataset": dataset, "preset": preset, "seed": seed % 2}
                    lines.append(fit_line(method, accuracy, seconds=seconds, **where))
    written = draw(lines, tmp_path, assignments_below=tmp_path)
    assert [path.name for path in written] == ["gain.svg", "knn.svg", "seconds.svg"]
    assert max(path.stat().st_size for path in written) < 100_000


def test_nothing_is_drawn_of_nothing(tmp_path):
    assert draw([], tmp_path, assignments_below=tmp_path) == []
    bare = {"kind": "fit", "status": "done", "id": "x"}
    assert draw([bare, failed_line()], tmp_path, assignments_below=tmp_path) == []


@pytest.mark.parametrize("name", ["a$b$ $\\bad{$", "<script>&\"'", "new\nline\udce9", "日本", "_" * 3])
def test_hostile_names(name, tmp_path):
    here = {"dataset": name, "backbone": name}
    lines = [fit_line("kmeans", **here), fit_line(name, **here), point_line(name, 3, 0.5, **here), probe_line(**here)]
    written = draw(lines, tmp_path, assignments_below=tmp_path)
    assert [path.stem for path in written] == ["gain", "knn", "seconds", "ablations"]
    shown = name.replace("\n", "\\n").replace("\udce9", "\\udce9")
    assert all(any(shown in text for text in texts(path)) for path in written)


def test_without_matplotlib_there_is_one_line(lines, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SettingError, match=r"pictures need matplotlib.*pip install 'headclust\[bench\]'") as refused:
        draw(lines, tmp_path / "pictures", assignments_below=tmp_path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "pictures").exists()


def test_a_folder_that_cannot_be_made_is_told(lines, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HeadclustError, match="cannot write"):
        draw(lines, tmp_path / "file", assignments_below=tmp_path)
