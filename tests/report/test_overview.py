import numpy as np
import pytest

from headclust.duplicates import DuplicateGroup, Duplicates
from headclust.features.left_out import read_left_out
from headclust.report import overview
from headclust.report.images import Source, Thumbnails

SOURCE = Source(object(), np.zeros(0, int))


def changed(data, **values):
    for name, value in values.items():
        object.__setattr__(data, name, value)
    return data


def remarks_of(data, source=SOURCE, thumbnails=None, duplicates=None):
    remarks = overview.remarks(data, source, thumbnails or Thumbnails(), duplicates)
    return {(remark.kind, remark.title): remark for remark in remarks}


def test_nothing_stands_out(data):
    object.__setattr__(data.spaces[0], "left_out", ())
    changed(data, confidence=np.full(60, 0.9, np.float32))
    assert remarks_of(data, duplicates=Duplicates((), 60)) == {}


def test_clusters_that_are_empty_or_too_large(data):
    # Of 60 samples in 4 clusters an even share is 15: 46 are more than three times that, 45 are not.
    for largest, expected in ((46, (2,)), (45, None)):
        changed(data, clusters=np.array([2] * largest + [0] * (60 - largest)))
        remarks = remarks_of(data)
        assert ("warn", "2 of 4 groups have no image:") in remarks
        large = remarks.get(("warn", "A group is"))
        assert (large.clusters if large else None) == expected


@pytest.mark.parametrize(("low", "warned"), [(12, False), (13, True)])
def test_many_unsure_images(data, low, warned):
    # Halfway between chance and certainty of 4 clusters is 0.625.
    confidence = np.array([0.62] * low + [0.63] * (60 - low), np.float32)
    changed(data, confidence=confidence, clusters=np.array([1] * 13 + [0, 2, 3] * 15 + [0, 2]))
    warning = remarks_of(data).get(("warn", "21.7 % of the images are unsure:"))
    assert (warning is not None) == warned
    assert warning is None or warning.clusters == (1,)


def test_remarks_name_what_is_missing(data):
    object.__setattr__(data.spaces[0], "left_out", read_left_out([("a", "b"), ("c", "d")], None))
    changed(data, is_fitted=False, problem="gone.")
    thumbnails = Thumbnails(failed={3: "torn"}, problem="unplugged")
    remarks = remarks_of(
        data, Source(None, None, "no folder"), thumbnails, Duplicates((DuplicateGroup((1, 2), 0.99, ""),), 60)
    )
    texts = {title: remark.text for (_, title), remark in remarks.items()}
    assert texts["2 images could not be read"] == "and belong to no group."
    assert texts["No thumbnails:"] == "no folder"
    assert texts["Thumbnails are missing:"] == "unplugged"
    assert texts["No map, no images between two groups, no nearest images, no images that look the same:"] == "gone."
    assert texts["1 image can no longer be read"].endswith("the first: torn.")
    assert "These are not the images that the run was fitted on:" in texts
    assert texts["1 image is a copy"] == "of others."
    kinds = [kind for kind, _ in remarks]
    assert kinds == sorted(kinds, reverse=True)  # warnings before explanations


def test_histogram(data):
    changed(data, confidence=np.array([0, 0.05, 0.051, 0.5, 0.999, 1], np.float32))
    bins = overview.histogram(data)
    assert len(bins) == 20
    assert [round(bar.height, 3) for bar in bins if bar.height] == [5, 10, 5, 10]
    assert [bar.title for bar in bins][-1] == "95 to 100 %: 2 images"


def test_tiles(data):
    values = {tile.name: tile.value for tile in overview.tiles(data)}
    assert (values["Images"], values["Groups"]) == ("60", "4")
    metrics = data.metrics
    assert values["Largest group"] == f"{100 * metrics['largest_share']:.1f} %"
    assert values["Evenness"] == f"{100 * metrics['entropy']:.1f} %"
    explained = {tile.name: tile.details for tile in overview.tiles(data) if tile.details}
    assert list(explained) == ["Confidence", "Evenness", "Agreement"]
    assert values["Agreement"] == f"{100 * metrics['agreement']:.1f} %"
    changed(data, metrics={**metrics, "agreement": None})
    assert {tile.name: tile.value for tile in overview.tiles(data)}["Agreement"] == "-"
    scores = {tile.name: tile.value for tile in overview.score_tiles(metrics)}
    assert scores["Accuracy"] == f"{100 * metrics['accuracy']:.1f} %"
    assert set(scores) == {"Accuracy", "NMI", "AMI", "ARI"}


def test_small_copies_that_the_page_lacks(data):
    source = Source(object(), np.array([0, 1, 2, -1]))
    made = dict.fromkeys([0, 1])
    remarks = remarks_of(data, source, Thumbnails(made=made))
    assert ("info", "Small copies of 2 of 3 images are in this page:") in remarks
    assert remarks_of(data, source, Thumbnails(made=made, failed={2: "torn"})).keys() - remarks == {
        ("info", "1 image can no longer be read")
    }


def test_labels_that_are_asked_for_and_missing(data):
    object.__setattr__(data.spaces[0], "labels", None)
    (remark,) = (
        remark
        for remark in overview.remarks(data, SOURCE, Thumbnails(), None, labels=True)
        if remark.title == "No comparison with labels:"
    )
    assert remark.text == "the feature file has none."


def test_threshold():
    assert overview.threshold(2) == 0.75
    assert overview.threshold(10) == pytest.approx(0.55)
