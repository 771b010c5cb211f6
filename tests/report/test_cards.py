from types import SimpleNamespace

import numpy as np
import pytest

from headclust.duplicates import DuplicateGroup, Duplicates
from headclust.report import cards
from headclust.report.geometry import ClusterImages, measure
from headclust.report.images import Thumbnail, Thumbnails
from headclust.report.scores import compare

THUMB = Thumbnail("data:image/webp;base64,AAAA", 8, 8)


@pytest.fixture
def geometry(data):
    return measure(data.model, data.spaces, data.clusters)


def test_images_of_every_cluster_none_twice(data, geometry):
    chosen = cards.choose_images(data, geometry)
    assert list(chosen) == [0, 1, 2, 3]
    rows = [row for images in chosen.values() for row in images.rows]
    assert len(rows) == len(set(rows))
    for cluster, images in chosen.items():
        assert (data.clusters[list(images.rows)] == cluster).all()


@pytest.mark.parametrize(("n_clusters", "each"), [(4, 6), (75, 5), (200, 1), (3_000, 1)])
def test_many_clusters_show_fewer_images_each(n_clusters, each):
    clusters = np.repeat(np.arange(n_clusters), 30)
    confidence = np.linspace(0, 1, len(clusters), dtype=np.float32)
    crowd = SimpleNamespace(clusters=clusters, confidence=confidence, n_ids=n_clusters)
    chosen = cards.choose_images(crowd, None)
    assert {len(images.typical) for images in chosen.values()} == {2 * each}
    assert {len(images.unsure) for images in chosen.values()} == {each}


def copies(*groups):
    return Duplicates(tuple(DuplicateGroup(rows, similarity, "it is the sharpest") for rows, similarity in groups), 60)


def test_copies_and_every_cluster_come_first():
    chosen = {0: ClusterImages((1, 2), (3,), (4,)), 5: ClusterImages((9,), (), ())}
    assert cards.first_rows(chosen, None) == [1, 9, 2, 4, 3]
    assert cards.first_rows(chosen, copies(((2, 7), 1.0), ((8, 6), 0.98))) == [2, 7, 8, 6, 1, 9, 4, 3]


def test_the_content_of_a_card(data, geometry):
    chosen = cards.choose_images(data, geometry)
    scores = compare(data.clusters, data.labels, data.spaces[0].class_names)
    thumbnails = Thumbnails(made=dict.fromkeys(chosen[1].rows, THUMB))
    made = cards.make_cards(data, chosen, geometry, thumbnails, scores)
    assert [card.number for card in made] == [0, 1, 2, 3]
    for card in made:
        members = np.flatnonzero(data.clusters == card.number)
        assert card.size == len(members)
        assert card.confidence == pytest.approx(data.confidence[members].mean(dtype=float))
        names, counts = np.unique(data.labels[members], return_counts=True)
        assert card.majority == data.spaces[0].class_names[names[counts.argmax()]]
        assert card.purity == counts.max() / counts.sum()
        assert len(card.nearest) == 3
    assert sorted(made, key=lambda card: card.order) == sorted(made, key=lambda card: (-card.size, card.number))
    assert [card.face is None for card in made] == [True, False, True, True]
    assert made[1].face == chosen[1].typical[0]
    assert {near.number: near.face for near in made[0].nearest}[1] == made[1].face
    (borderline,) = (strip for strip in made[1].strips if strip.kind == "borderline")
    assert [picture.note for picture in borderline.pictures] == [
        f"near {geometry.neighbor[row]}" for row in chosen[1].borderline
    ]
    typical = made[1].strips[0].pictures[0]
    assert typical.alt == f"{typical.name}: typical of group 1, confidence {typical.note}"


def test_an_image_is_embedded_once(data):
    chosen = {0: ClusterImages((4,), (), ())}
    object.__setattr__(data, "clusters", np.array([0] * 10 + [1] * 50))
    duplicates = copies(((4, 7, *range(30, 38)), 1.0), ((8, 20), 0.98))
    made = cards.make_copies(data, duplicates, chosen, Thumbnails(made={7: THUMB}))
    assert [picture.embedded for picture in made[0].pictures] == [False, True, True, True, True, True]
    assert [group.apart for group in made] == [True, True]
    names = data.sample_ids
    assert made[1].text == f"groups 0 and 1: best is {names[8]}, it is the sharpest; copies: {names[20]}"
    assert made[0].text.endswith("and 4 more")
    assert "0.980" in made[1].similarity
    assert [picture.thumb for picture in made[0].pictures[:2]] == [None, THUMB]
    assert [picture.note for picture in made[0].pictures[:2]] == ["best", ""]


def test_a_long_name_shows_its_end():
    name = "holidays/" * 9 + "beach/IMG_1187.jpg"
    assert cards.Picture(0, name, "", name, None).ending == f"…{name[-43:]}"
    assert cards.Picture(0, "a.jpg", "", "", None).ending == "a.jpg"
    # Characters that are shown escaped count as they are shown.
    assert cards.Picture(0, "\u202e" * 8, "", "", None).ending == "…" + ("\\u202e" * 8)[-43:]
