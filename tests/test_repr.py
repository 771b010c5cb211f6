"""Objects of the public API print as one short line: `repr(load_features(FILE))` once had every sample id."""

from pathlib import Path

import pytest

from headclust import Recipe, load_features, runs, verbs
from headclust.graph.neighbors import nearest_neighbors
from headclust.images.datasets import open_source
from headclust.runs.scored_fit import assign


@pytest.fixture
def objects(blob_file, tmp_path):
    features = load_features(blob_file)
    result = Recipe.of("kmeans").for_features(features).fit([features], seed=0)
    run = runs.read_run(verbs.fit([blob_file], method="kmeans", output=tmp_path / "run"))
    groups = verbs.Groups(*(Path(name) for name in ("g", "f.h5", "run", "report.html")), 120, 0, None)
    more = (nearest_neighbors(features.all(), 5), open_source("digits", "train"), run, groups)
    return [features, result, result.model, result.model.transforms[0], assign(result.model, [features]), *more]


def test_they_print_as_one_line(objects):
    texts = [repr(thing) for thing in objects]
    assert [text for text in texts if len(text) > 250 or "\n" in text or "array(" in text or "tensor(" in text] == []
    assert all(text.startswith(f"{type(thing).__name__}(") for thing, text in zip(objects, texts, strict=True))
    features = repr(objects[0])
    assert "120 x 12" in features
    assert "backbone='gauss', n_labeled=120" in features


def test_a_recipe_prints_what_makes_it_again():
    recipe = Recipe.of("temi", "authors", {"beta": 0.7, "n_clusters": 4})
    assert repr(recipe) == "Recipe.of('temi', 'authors', {'n_clusters': 4, 'beta': 0.7})"
    assert repr(Recipe.of()) == "Recipe.of('consensus', 'ours')"
