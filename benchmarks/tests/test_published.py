import csv
from pathlib import Path

import pytest
from study import published as module
from study.published import SCORES, TRUST, published, published_for

from headclust.backbones.catalog import CATALOG

ALL = published()


@pytest.mark.parametrize("one", ALL, ids=lambda one: f"{one.method}-{one.dataset}-{one.network}")
def test_every_number_says_where_it_was_seen_and_how_far_it_can_be_trusted(one):
    assert one.trust in TRUST
    assert len(one.source) > 10
    assert one.network
    assert one.scores
    assert all(0 < value <= 100 for value in one.scores.values())
    assert all(value > 1 for value in one.scores.values()), "percent, not shares"
    assert set(one.spreads) <= set(one.scores) <= set(SCORES)
    assert one.backbone == "" or one.backbone in CATALOG


def test_numbers_of_a_repository_name_it():
    for one in ALL:
        if one.trust == "R":
            assert one.source.startswith("https://github.com/")


def test_no_number_is_there_twice():
    assert len(set(map(repr, ALL))) == len(ALL)


def test_values_are_the_files_own():
    with Path(module.__file__).with_name("published.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(ALL)
    for row, one in zip(rows, ALL, strict=True):
        for name in SCORES:
            assert (float(row[name]) if row[name] else None) == one.scores.get(name)


def test_known_entries():
    # From the authors' README files; the issue is a user's report.
    (mean, best) = published_for([("imc-swav", "cifar10")])
    assert (mean.scores, mean.spreads) == (
        {"accuracy": 89.1, "nmi": 81.1, "ari": 79.0},
        {"accuracy": 0.5, "nmi": 0.7, "ari": 1.0},
    )
    assert best.scores["accuracy"] == 89.7
    (imagenet,) = [one for one in published_for([("scan", "imagenet")]) if one.trust == "R"]
    assert imagenet.scores == {"accuracy": 39.9, "nmi": 72.0, "ami": 51.2, "ari": 27.5}
    temi = {
        (one.backbone, one.trust): one.scores["accuracy"]
        for one in published_for([("temi", "cifar100"), ("temi", "nowhere")])
    }
    assert temi == {("clip_ViT-L/14", "A"): 73.7, ("dino_vitb16", "A"): 67.1, ("dino_vitb16", "R"): 64.22}


def test_nothing_is_published_of_what_nobody_published():
    assert published_for([("kmeans", "digits"), ("spectral", "cifar10")]) == []


def test_nothing_is_said_that_the_sources_do_not_say():
    (part,) = published_for([("temi", "imagenet-50")])
    assert (part.network, part.note) == ("not named", "")
    (whole,) = [one for one in published_for([("scan", "imagenet")]) if one.trust == "R"]
    assert whole.network == "MoCo v2"
    (tutorial,) = [one for one in published_for([("scan", "stl10")]) if "TUTORIAL" in one.source]
    assert tutorial.note == "SCAN loss"
    (best,) = published_for([("temi", "stl10")])
    assert "another entry 96.7" in best.note
    (base,) = [one for one in published_for([("temi", "imagenet")]) if one.scores.get("accuracy") == 58.0]
    assert base.note.startswith("the source says DINO ViT-B")
