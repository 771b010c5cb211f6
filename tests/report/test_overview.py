import numpy as np
import pytest

from headclust.report import overview
from headclust.report.images import Source, Thumbnails
from headclust.report.near_duplicates import NearDuplicates

HERE = Source("images", None)


def changed(data, **values):
    for name, value in values.items():
        object.__setattr__(data, name, value)
    return data


def said(data, source=HERE, thumbnails=None, twins=None):
    return {(one.kind, one.what): one for one in overview.warnings(data, source, thumbnails or Thumbnails(), twins)}


def test_nothing_stands_out(data):
    object.__setattr__(data.spaces[0], "skipped", ())
    changed(data, confidence=np.full(60, 0.9, np.float32))
    assert said(data, twins=NearDuplicates((), 60)) == {}


def test_clusters_that_are_empty_or_too_large(data):
    # Of 60 samples in 4 clusters an even share is 15: 46 are more than three times that, 45 are not.
    for most, wanted in ((46, (2,)), (45, None)):
        changed(data, clusters=np.array([2] * most + [0] * (60 - most)))
        found = said(data)
        assert ("warn", "2 of 4 clusters hold no image:") in found
        large = found.get(("warn", "A cluster is"))
        assert (large.clusters if large else None) == wanted


@pytest.mark.parametrize(("low", "wanted"), [(12, False), (13, True)])
def test_many_unsure_images(data, low, wanted):
    # Halfway between chance and certainty of 4 clusters is 0.625.
    confidence = np.array([0.62] * low + [0.63] * (60 - low), np.float32)
    changed(data, confidence=confidence, clusters=np.array([1] * 13 + [0, 2, 3] * 15 + [0, 2]))
    warning = said(data).get(("warn", "21.7 % of the images are unsure:"))
    assert (warning is not None) == wanted
    assert warning is None or warning.clusters == (1,)


def test_what_is_missing_is_told(data):
    object.__setattr__(data.spaces[0], "skipped", (("a", "b"), ("c", "d")))
    changed(data, own=False, missing="gone.")
    thumbnails = Thumbnails(failed={3: "torn"}, problem="unplugged")
    found = said(data, Source(None, None, "no folder"), thumbnails, NearDuplicates(((1, 2, 0.99),), 60))
    texts = {what: one.text for (_, what), one in found.items()}
    assert texts["2 images could not be read"].startswith("when the features were made")
    assert texts["No thumbnails:"] == "no folder"
    assert texts["Thumbnails are missing:"] == "unplugged"
    assert texts["No map, no borders, no near-duplicates:"] == "gone."
    assert texts["1 image can no longer be read,"].endswith("the first: torn.")
    assert "These are not the images that the run was fitted on:" in texts
    assert "Pairs of images are nearly the same" in texts
    kinds = [kind for kind, _ in found]
    assert kinds == sorted(kinds, reverse=True)  # what is wrong before what only explains


def test_histogram(data):
    changed(data, confidence=np.array([0, 0.05, 0.051, 0.5, 0.999, 1], np.float32))
    bins = overview.histogram(data)
    assert len(bins) == 20
    assert [round(one.height, 3) for one in bins if one.height] == [5, 10, 5, 10]
    assert [one.title for one in bins][-1] == "0.95 to 1.00: 2 images"


def test_numbers(data):
    found = {tile.name: tile.value for tile in overview.tiles(data)}
    assert (found["Images"], found["Clusters"]) == ("60", "4 of 4")
    metrics = data.metrics
    assert found["Largest"] == f"{100 * metrics['largest_share']:.1f} %"
    assert found["Agreement"] == f"{100 * metrics['agreement']:.1f} %"
    changed(data, metrics={**metrics, "agreement": None})
    assert {tile.name: tile.value for tile in overview.tiles(data)}["Agreement"] == "-"
    scores = {tile.name: tile.value for tile in overview.score_tiles(metrics)}
    assert scores["Accuracy"] == f"{100 * metrics['accuracy']:.1f} %"
    assert set(scores) == {"Accuracy", "NMI", "AMI", "ARI"}


def test_threshold():
    assert overview.threshold(2) == 0.75
    assert overview.threshold(10) == pytest.approx(0.55)
