import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclust import methods
from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS, configure, find_preset, settings
from headclust.training.stages import INHERITED, PARTS, Stage

PAIRS = [(method, preset) for method in METHODS for preset in PRESETS[method]]


def test_every_method_has_our_preset():
    assert {method for method, presets in PRESETS.items() if "ours" in presets} == set(METHODS)


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_settings_are_what_the_stages_use_and_their_parts_arguments(method, preset):
    recipe, wanted = PRESETS[method][preset], {}
    for place, stage in enumerate(recipe):
        own = {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage)}
        prefix = f"{stage.objective.replace('-', '_')}." if place else ""
        if isinstance(stage, Stage):
            hidden = {"objective", *stage.unused, *(INHERITED if place else ())}
            for part, registry in PARTS.items():
                changed = own.pop(f"{part}_settings")
                parameters = inspect.signature(registry[getattr(stage, part)]).parameters.values()
                if not (place and part in INHERITED):
                    own |= {p.name: p.default for p in parameters if p.default is not p.empty} | changed
                own.pop("seed", None)
            own = {name: value for name, value in own.items() if name not in hidden}
        wanted |= {prefix + name: value for name, value in own.items()}
    assert {setting.name: setting.value for setting in settings(recipe)} == wanted


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_setting_has_a_meaning_and_a_type_that_text_can_be_read_as(method, preset):
    for setting in settings(PRESETS[method][preset]):
        assert len(setting.meaning) > 15, setting.name
        assert setting.meaning.endswith("."), setting.name
        assert "  " not in setting.meaning
        assert type(setting.value) in (int, float, str, bool), setting.name


@pytest.mark.parametrize("method", METHODS)
def test_a_setting_means_the_same_in_every_preset(method):
    seen = {}
    for preset in PRESETS[method].values():
        for setting in settings(preset):
            assert seen.setdefault(setting.name, (setting.meaning, type(setting.value))) == (
                setting.meaning,
                type(setting.value),
            )


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_setting_can_be_written_as_text(method, preset):
    recipe = PRESETS[method][preset]
    written = {setting.name: str(setting.value) for setting in settings(recipe)}
    assert settings(configure(recipe, written)) == settings(recipe)


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_numeric_setting_can_be_changed(method, preset):
    recipe = PRESETS[method][preset]
    for setting in settings(recipe):
        if isinstance(setting.value, str | bool):
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


TWO = (
    Stage(objective="temi", lr=0.1),
    Stage(objective="wmi", lr=0.2, objective_settings={"beta": 0.8}),
)


def test_settings_of_a_later_stage_have_its_name_and_the_model_is_the_first_ones():
    values = {setting.name: setting.value for setting in settings(TWO)}
    assert (values["lr"], values["wmi.lr"], values["beta"], values["wmi.beta"]) == (0.1, 0.2, 0.6, 0.8)
    assert "wmi.n_clusters" not in values
    assert "wmi.hidden_dim" not in values
    first, second = configure(TWO, {"wmi.lr": "0.3", "beta": 0.7, "n_clusters": 5, "wmi.weight_decay": 0})
    assert (first.lr, second.lr, first.n_clusters) == (0.1, 0.3, 5)
    assert (first.objective_settings["beta"], second.objective_settings["beta"]) == (0.7, 0.8)
    assert (first.optimizer_settings["weight_decay"], second.optimizer_settings["weight_decay"]) == (1e-4, 0.0)


def test_another_head_or_optimizer_brings_its_own_settings():
    (stage,) = configure(PRESETS["temi"]["ours"], {"head": "linear", "optimizer": "sgd", "sgd_momentum": "0.5"})
    assert (stage.head, stage.head_settings) == ("linear", {})
    assert stage.optimizer_settings == {"weight_decay": 0.0, "sgd_momentum": 0.5}
    for changes, name in (({"head": "linear", "hidden_dim": 9}, "hidden_dim"), ({"sgd_momentum": 0.5}, "sgd_momentum")):
        with pytest.raises(SettingError, match=f"unknown setting '{name}'"):
            configure(PRESETS["temi"]["ours"], changes)
    assert configure(PRESETS["temi"]["ours"], {"head": "mlp"})[0].head_settings["hidden_dim"] == 128  # nothing changed


@pytest.mark.parametrize("value", [3, ["mlp"], {}])
@pytest.mark.parametrize("part", ["head", "optimizer"])
def test_a_part_that_is_no_text_is_refused(part, value):
    # Once a TypeError, from a config.json that someone had edited.
    with pytest.raises(SettingError, match=f"{part} is .*: wanted a name"):
        configure(PRESETS["temi"]["ours"], {part: value})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False)])
def test_truths_are_read_as_such(text, value):
    assert configure(PRESETS["temi"]["ours"], {"augment": text})[0].augment is value
    with pytest.raises(SettingError, match="augment is 'maybe': wanted true or false"):
        configure(PRESETS["temi"]["ours"], {"augment": "maybe"})


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
        ("length", "2.5", "length is '2.5': wanted a whole number, for example "),
        ("length", 2.5, "length is 2.5: wanted a whole number"),
        ("length", True, "length is True: wanted a whole number"),
        ("length", "", "length is '': wanted a whole number"),
        ("lr", "fast", "lr is 'fast': wanted a number, for example 0.003"),
        ("lr", None, "lr is None: wanted a number"),
        ("transform", 3, "transform is 3: wanted a name"),
        ("beta", "x", "beta is 'x': wanted a number, for example 0.6"),
        ("beta", "1.5", "beta is 1.5: expected 0.5 to 1"),
        ("length", "-1", "length is -1: expected 0 or more"),
        ("transform", "whiten", "transform is 'whiten': expected one of none, l2, standardize, pca"),
        ("objective", "scan", "unknown setting 'objective'"),
        ("head", "tail", "unknown head 'tail'"),
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


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_a_recipe_says_whether_its_method_takes_several_spaces(method, preset, blobs):
    quick = {"turtle": {"length": 1, "n_heads": 2}, "consensus": {"temi.length": 1}}
    recipe = configure(PRESETS[method][preset], {"n_clusters": 4, **quick.get(method, {})})
    space = Features.from_array(blobs.features)
    if getattr(recipe[0], "several_spaces", False):
        assert len(METHODS[method]((space, space), recipe, 0).model.transforms) == 2
    else:
        with pytest.raises(SettingError, match="takes one feature file: found 2"):
            METHODS[method]((space, space), recipe, 0)


def test_methods_that_take_several_spaces():
    several = {method for method, preset in PAIRS if getattr(PRESETS[method][preset][0], "several_spaces", False)}
    assert several == {"consensus", "kmeans", "turtle"}
