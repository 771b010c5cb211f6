import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclust import methods
from headclust.errors import SettingError
from headclust.methods import METHODS, PRESETS, configure, find_preset, settings
from headclust.objectives import OBJECTIVES

PAIRS = [(method, preset) for method in METHODS for preset in PRESETS[method]]


def test_every_method_has_both_presets():
    assert {method: set(presets) for method, presets in PRESETS.items()} == {
        method: {"ours", "authors"} for method in METHODS
    }


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_settings_are_the_stages_fields_and_the_objectives_arguments(method, preset):
    for stage in PRESETS[method][preset]:
        wanted = {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage)}
        if "objective" in wanted:
            changed = wanted.pop("objective_settings")
            parameters = inspect.signature(OBJECTIVES[stage.objective]).parameters.values()
            wanted |= {p.name: p.default for p in parameters if p.default is not p.empty} | changed
        assert {setting.name: setting.value for setting in settings((stage,))} == wanted


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_setting_has_a_meaning_and_a_type_that_text_can_be_read_as(method, preset):
    for setting in settings(PRESETS[method][preset]):
        assert len(setting.meaning) > 15, setting.name
        assert setting.meaning.endswith("."), setting.name
        assert "  " not in setting.meaning
        assert type(setting.value) in (int, float, str), setting.name


@pytest.mark.parametrize("method", METHODS)
def test_presets_of_a_method_have_the_same_settings(method):
    ours, authors = (settings(PRESETS[method][preset]) for preset in ("ours", "authors"))
    assert [(s.name, s.meaning, type(s.value)) for s in ours] == [(s.name, s.meaning, type(s.value)) for s in authors]


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_setting_can_be_written_as_text(method, preset):
    recipe = PRESETS[method][preset]
    written = {setting.name: str(setting.value) for setting in settings(recipe)}
    assert settings(configure(recipe, written)) == settings(recipe)


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_numeric_setting_can_be_changed(method, preset):
    recipe = PRESETS[method][preset]
    for setting in settings(recipe):
        if isinstance(setting.value, str):
            continue
        value = setting.value + 1 if isinstance(setting.value, int) else setting.value * 0.99
        changed = {s.name: s.value for s in settings(configure(recipe, {setting.name: value}))}
        assert changed == {s.name: s.value for s in settings(recipe)} | {setting.name: value}


def test_a_recipe_is_not_changed_in_place():
    before = settings(PRESETS["temi"]["ours"])
    configure(PRESETS["temi"]["ours"], {"beta": 0.7, "lr": 1.0})
    assert settings(PRESETS["temi"]["ours"]) == before


def test_settings_of_a_stage_and_of_its_objective():
    (stage,) = configure(PRESETS["temi"]["ours"], {"beta": "0.75", "lr": "1e-2", "n_heads": "7", "transform": "l2"})
    assert (stage.objective_settings["beta"], stage.lr, stage.n_heads, stage.transform) == (0.75, 0.01, 7, "l2")
    (again,) = configure((stage,), {"teacher_temperature": 0.2})
    assert again.objective_settings == {**stage.objective_settings, "teacher_temperature": 0.2}


def test_a_configured_recipe_says_all_of_its_objectives_settings():
    (stage,) = configure(PRESETS["temi"]["ours"], {})
    assert stage.objective_settings == {
        "beta": 0.6,
        "student_temperature": 0.1,
        "teacher_temperature": 0.1,
        "marginal_momentum": 0.9,
    }


def test_a_setting_changes_in_every_stage_that_has_it():
    recipe = configure(PRESETS["temi"]["ours"] * 2, {"lr": 0.5})
    assert [stage.lr for stage in recipe] == [0.5, 0.5]
    assert len(settings(recipe)) == len(settings(PRESETS["temi"]["ours"]))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("lr", "1", 1.0),
        ("lr", 1, 1.0),
        ("lr", "1e-3", 1e-3),
        ("length", "12", 12),
        ("transform", "none", "none"),
    ],
)
def test_text_is_read_as_the_settings_type(name, value, wanted):
    (stage,) = configure(PRESETS["temi"]["ours"], {name: value})
    assert getattr(stage, name) == wanted
    assert type(getattr(stage, name)) is type(wanted)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("length", "2.5", "length is '2.5': wanted a whole number, for example 2000"),
        ("length", 2.5, "length is 2.5: wanted a whole number"),
        ("length", True, "length is True: wanted a whole number"),
        ("length", "", "length is '': wanted a whole number"),
        ("lr", "fast", "lr is 'fast': wanted a number, for example 0.003"),
        ("lr", None, "lr is None: wanted a number"),
        ("transform", 3, "transform is 3: wanted a name"),
        ("beta", "x", "beta is 'x': wanted a number, for example 0.6"),
        ("beta", "1.5", "beta is 1.5: wanted 0.5 to 1"),
        ("length", "0", "length is 0: wanted more than 0"),
        ("transform", "whiten", "transform is 'whiten': wanted one of none, l2, standardize, pca"),
        ("objective", "scan", "objective is 'scan': wanted one of temi"),
    ],
)
def test_wrong_types_and_ranges_are_refused_by_name(name, value, message):
    with pytest.raises(SettingError) as caught:
        configure(PRESETS["temi"]["ours"], {name: value})
    assert str(caught.value).startswith(message)


@given(st.sampled_from([s.name for s in settings(PRESETS["temi"]["ours"])]), st.text(max_size=8))
def test_any_text_is_a_value_or_one_line(name, value):
    line = name
    try:
        configure(PRESETS["temi"]["ours"], {name: value})
    except SettingError as error:
        line = str(error)
    assert name in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("method", "name", "near"),
    [("temi", "n_head", "n_heads"), ("temi", "betta", "beta"), ("kmeans", "iter", "max_iter")],
)
def test_a_wrong_name_offers_the_nearest(method, name, near):
    with pytest.raises(SettingError, match=f"unknown setting '{name}': did you mean .*{near}"):
        configure(PRESETS[method]["ours"], {name: "1"})


def test_objective_settings_is_no_setting_of_its_own():
    with pytest.raises(SettingError, match="unknown setting"):
        configure(PRESETS["temi"]["ours"], {"objective_settings": {"beta": 1.0}})


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_find_preset(method, preset):
    assert find_preset(method, preset) == (method, PRESETS[method][preset])


def test_default_stands_for_a_method():
    assert find_preset("default", "ours") == find_preset(methods.DEFAULT_METHOD, "ours")


@pytest.mark.parametrize(
    ("method", "preset", "message"),
    [
        ("kmean", "ours", "unknown method 'kmean': did you mean kmeans"),
        ("temi", "author", "unknown preset 'author': did you mean authors"),
    ],
)
def test_unknown_methods_and_presets_offer_the_nearest(method, preset, message):
    with pytest.raises(SettingError, match=message):
        find_preset(method, preset)
