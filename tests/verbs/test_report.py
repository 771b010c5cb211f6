import sys

import numpy as np
import pytest

from headclust import verbs
from headclust.errors import ConflictError, DataError, SettingError


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_report_lies_in_the_run_folder(fit, blob_file):
    run = fit(blob_file, method="kmeans")
    before = contents(run)
    path = verbs.report(run, umap=False)
    assert path == run / "report.html"
    text = path.read_text(encoding="utf-8")
    assert "120 images in 4 groups" in text
    assert {name: content for name, content in contents(run).items() if name != path} == before


def test_the_same_run_gives_the_same_bytes(fit, blob_file, here):
    run = fit(blob_file, method="kmeans")
    first = verbs.report(run, umap=False, output=here / "a.html").read_bytes()
    assert verbs.report(run, umap=False, output=here / "b.html").read_bytes() == first
    assert verbs.report(run, umap=False, output=here / "a.html").read_bytes() == first


def test_another_run_of_the_same_settings_differs_in_its_name_alone(fit, blob_file):
    texts = []
    for name in ("one", "two"):
        text = verbs.report(fit(blob_file, method="kmeans", output=name), umap=False).read_text(encoding="utf-8")
        texts.append(text.replace(f">{name}", ">NAME"))
    assert texts[0] == texts[1]


def test_a_report_of_other_samples(fit, blob_file, test_file):
    run = fit(blob_file, method="kmeans")
    text = verbs.report(run, features=[test_file], umap=False).read_text(encoding="utf-8")
    assert "60 images in" in text
    assert "These are not the images that the run was fitted on" in text


def test_labels_are_used_only_when_asked(fit, blob_file, here, capsys):
    run = fit(blob_file, method="kmeans")
    capsys.readouterr()
    plain = verbs.report(run, umap=False).read_text(encoding="utf-8")
    assert "--labels compares" in capsys.readouterr().err
    text = verbs.report(run, labels=True, umap=False).read_text(encoding="utf-8")
    assert "--labels" not in capsys.readouterr().err
    assert [">Accuracy<" in page for page in (plain, text)] == [False, True]
    assert ["mostly <b>" in page for page in (plain, text)] == [False, True]


def test_a_number_of_thumbnails_below_zero(fit, blob_file):
    with pytest.raises(SettingError, match=r"thumbnails -1: expected 0 or more\.$"):
        verbs.report(fit(blob_file, method="kmeans"), thumbnails=-1)


@pytest.mark.parametrize("method", ["turtle", "consensus"])
def test_several_spaces(fit, write, blobs, method):
    other = np.random.default_rng(1).permutation(blobs.features.T).T
    files = write("a.h5", blobs.features, blobs.labels), write("b.h5", other, blobs.labels, backbone="other")
    page = verbs.report(fit(*files, method=method), umap=False).read_text(encoding="utf-8")
    assert 'class="plane"' in page
    assert "Features: gauss and other; method:" in page
    assert "The features, file 1" in page
    assert "The features, file 2" in page


def test_nothing_is_begun_over_what_is_not_ours(fit, blob_file, here, monkeypatch):
    run = fit(blob_file, method="kmeans")
    (here / "mine.html").write_text("mine")
    monkeypatch.setattr(sys.modules["headclust.verbs.report"], "render", None)
    with pytest.raises(ConflictError, match=r"mine\.html exists and is not a headclust report"):
        verbs.report(run, output=here / "mine.html")
    assert (here / "mine.html").read_text() == "mine"


def test_no_run(here):
    with pytest.raises(DataError, match="no such folder"):
        verbs.report(here / "none")
    assert list(here.iterdir()) == []


def test_a_run_whose_map_cannot_be_drawn(fit, write, capsys):
    # Collinear rows: a run of accuracy 1 once had no report.
    row = write("line.h5", np.repeat([0.5, 1, 1.5], 10)[:, None].astype(np.float32) * np.ones(8, np.float32))
    run = fit(row, method="kmeans", clusters=3, changes={"normalize": "none"})
    page = verbs.report(run).read_text()
    assert "There is no map: the features of all images point the same way" in page
    assert "There is no map" in capsys.readouterr().err
