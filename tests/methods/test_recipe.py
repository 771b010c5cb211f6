import pytest

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import DEFAULT_METHOD, METHODS, PRESETS, Recipe
from headclust.methods.settings import change_settings

PAIRS = [(method, preset) for method in METHODS for preset in PRESETS[method]]


@pytest.fixture
def space(blobs):
    return Features.from_array(blobs.features, labels=blobs.labels)


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_a_recipe_holds_every_setting_of_its_preset(method, preset):
    recipe = Recipe.of(method, preset)
    assert (recipe.method, recipe.preset) == (method, preset)
    assert recipe.stages == change_settings(PRESETS[method][preset], {})
    assert recipe.values == {setting.name: setting.value for setting in recipe.settings}
    assert Recipe.of(method, preset, recipe.values) == recipe


def test_default_stands_for_a_method():
    assert Recipe.of("default") == Recipe.of() == Recipe.of(DEFAULT_METHOD, "ours")


@pytest.mark.parametrize(
    ("method", "preset", "message"),
    [
        ("kmean", "ours", "unknown method 'kmean': did you mean kmeans"),
        ("temi", "author", "unknown preset 'author': did you mean authors"),
        ("clc", "authors", "clc has no preset 'authors', as its authors published no code: use ours"),
    ],
)
def test_unknown_methods_and_presets_offer_the_nearest(method, preset, message):
    with pytest.raises(SettingError, match=message):
        Recipe.of(method, preset)


def test_changes_make_another_recipe():
    recipe = Recipe.of("temi")
    changed = recipe.changed({"beta": "0.7", "n_heads": 3})
    assert (changed.values["beta"], changed.values["n_heads"]) == (0.7, 3)
    assert recipe == Recipe.of("temi")
    with pytest.raises(SettingError, match="unknown setting"):
        recipe.changed({"bet": 1})


def test_clusters_are_the_labeled_classes_unless_given(space, blobs):
    recipe = Recipe.of("kmeans")
    assert recipe.n_clusters == 0
    assert recipe.for_features(space).n_clusters == 4
    assert recipe.changed({"n_clusters": 7}).for_features(space).n_clusters == 7
    with pytest.raises(SettingError, match="no labels to count classes by"):
        recipe.for_features(Features.from_array(blobs.features))
    with pytest.raises(SettingError, match="121 clusters of 120 samples: expected at most 120"):
        recipe.changed({"n_clusters": 121}).for_features(space)


def test_neighbors_asked_for_are_not_cut(space):
    recipe = Recipe.of("scan")
    recipe.changed({"n_neighbors": 119, "self_label.n_neighbors": "5"}).for_features(space)
    for name in ("n_neighbors", "self_label.n_neighbors"):
        with pytest.raises(SettingError, match=f"^{name} is 120, of 120 samples: expected at most 119"):
            recipe.changed({name: "120"}).for_features(space)
        Recipe.of("scan", settings={name: 120}).for_features(space)  # of a recorded run: cut as a preset's is


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_several_spaces_are_taken_or_refused_as_the_recipe_says(method, preset, space):
    quick = {"turtle": {"length": 1, "n_heads": 2}, "consensus": {"pairs.length": 1}}
    recipe = Recipe.of(method, preset).changed({"n_clusters": 4, **quick.get(method, {})})
    if recipe.several_spaces:
        assert len(recipe.fit([space, space], 0).model.transforms) == 2
    else:
        with pytest.raises(SettingError, match="takes one feature file: found 2"):
            recipe.fit([space, space], 0)
