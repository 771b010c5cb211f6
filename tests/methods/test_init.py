import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import change_settings, list_settings
from headclust.training.stages import INHERITED, PARTS, Stage

PAIRS = [(method, preset) for method in METHODS for preset in PRESETS[method]]


def test_every_method_has_our_preset():
    assert {method for method, presets in PRESETS.items() if "ours" in presets} == set(METHODS)


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_settings_are_what_the_stages_use_and_their_parts_arguments(method, preset):
    recipe, expected = PRESETS[method][preset], {}
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
        expected |= {prefix + name: value for name, value in own.items()}
    assert {setting.name: setting.value for setting in list_settings(recipe)} == expected


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_setting_has_a_meaning_and_a_type_that_text_can_be_read_as(method, preset):
    for setting in list_settings(PRESETS[method][preset]):
        assert len(setting.meaning) > 15, setting.name
        assert setting.meaning.endswith("."), setting.name
        assert "  " not in setting.meaning
        assert type(setting.value) in (int, float, str, bool), setting.name


@pytest.mark.parametrize("method", METHODS)
def test_a_setting_means_the_same_in_every_preset(method):
    seen = {}
    for preset in PRESETS[method].values():
        for setting in list_settings(preset):
            assert seen.setdefault(setting.name, (setting.meaning, type(setting.value))) == (
                setting.meaning,
                type(setting.value),
            )


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_setting_can_be_written_as_text(method, preset):
    recipe = PRESETS[method][preset]
    written = {setting.name: str(setting.value) for setting in list_settings(recipe)}
    assert list_settings(change_settings(recipe, written)) == list_settings(recipe)


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_every_numeric_setting_can_be_changed(method, preset):
    recipe = PRESETS[method][preset]
    for setting in list_settings(recipe):
        if isinstance(setting.value, str | bool):
            continue
        value = setting.value + 1 if isinstance(setting.value, int) else setting.value * 0.99
        changed = {s.name: s.value for s in list_settings(change_settings(recipe, {setting.name: value}))}
        assert changed == {s.name: s.value for s in list_settings(recipe)} | {setting.name: value}


def test_a_recipe_is_not_changed_in_place():
    before = list_settings(PRESETS["temi"]["ours"])
    change_settings(PRESETS["temi"]["ours"], {"beta": 0.7, "lr": 1.0})
    assert list_settings(PRESETS["temi"]["ours"]) == before


def test_settings_of_a_stage_and_of_its_objective():
    (stage,) = change_settings(
        PRESETS["temi"]["ours"], {"beta": "0.75", "lr": "1e-2", "n_heads": "7", "transform": "l2"}
    )
    assert (stage.objective_settings["beta"], stage.lr, stage.n_heads, stage.transform) == (0.75, 0.01, 7, "l2")
    (again,) = change_settings((stage,), {"teacher_temperature": 0.2})
    assert again.objective_settings == {**stage.objective_settings, "teacher_temperature": 0.2}


def test_a_configured_recipe_says_all_of_its_objectives_settings():
    (stage,) = change_settings(PRESETS["temi"]["ours"], {})
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
    values = {setting.name: setting.value for setting in list_settings(TWO)}
    assert (values["lr"], values["wmi.lr"], values["beta"], values["wmi.beta"]) == (0.1, 0.2, 0.6, 0.8)
    assert "wmi.n_clusters" not in values
    assert "wmi.hidden_dim" not in values
    first, second = change_settings(TWO, {"wmi.lr": "0.3", "beta": 0.7, "n_clusters": 5, "wmi.weight_decay": 0})
    assert (first.lr, second.lr, first.n_clusters) == (0.1, 0.3, 5)
    assert (first.objective_settings["beta"], second.objective_settings["beta"]) == (0.7, 0.8)
    assert (first.optimizer_settings["weight_decay"], second.optimizer_settings["weight_decay"]) == (1e-4, 0.0)


def test_another_head_or_optimizer_brings_its_own_settings():
    (stage,) = change_settings(PRESETS["temi"]["ours"], {"head": "linear", "optimizer": "sgd", "sgd_momentum": "0.5"})
    assert (stage.head, stage.head_settings) == ("linear", {})
    assert stage.optimizer_settings == {"weight_decay": 0.0, "sgd_momentum": 0.5}
    for changes, name in (({"head": "linear", "hidden_dim": 9}, "hidden_dim"), ({"sgd_momentum": 0.5}, "sgd_momentum")):
        with pytest.raises(SettingError, match=f"unknown setting '{name}'"):
            change_settings(PRESETS["temi"]["ours"], changes)
    assert (
        change_settings(PRESETS["temi"]["ours"], {"head": "mlp"})[0].head_settings["hidden_dim"] == 128
    )  # nothing changed


@pytest.mark.parametrize("value", [3, ["mlp"], {}])
@pytest.mark.parametrize("part", ["head", "optimizer"])
def test_a_part_that_is_no_text_is_refused(part, value):
    # Once a TypeError, from a config.json that someone had edited.
    with pytest.raises(SettingError, match=f"{part} is .*: expected a name"):
        change_settings(PRESETS["temi"]["ours"], {part: value})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False)])
def test_truths_are_read_as_such(text, value):
    assert change_settings(PRESETS["temi"]["ours"], {"augment": text})[0].augment is value
    with pytest.raises(SettingError, match="augment is 'maybe': expected true or false"):
        change_settings(PRESETS["temi"]["ours"], {"augment": "maybe"})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lr", "1", 1.0),
        ("lr", 1, 1.0),
        ("lr", "1e-3", 1e-3),
        ("length", "12", 12),
        ("transform", "none", "none"),
    ],
)
def test_text_is_read_as_the_settings_type(name, value, expected):
    (stage,) = change_settings(PRESETS["temi"]["ours"], {name: value})
    assert getattr(stage, name) == expected
    assert type(getattr(stage, name)) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("length", "2.5", "length is '2.5': expected a whole number, for example "),
        ("length", 2.5, "length is 2.5: expected a whole number"),
        ("length", True, "length is True: expected a whole number"),
        ("length", "", "length is '': expected a whole number"),
        ("lr", "fast", "lr is 'fast': expected a number, for example 0.003"),
        ("lr", None, "lr is None: expected a number"),
        ("transform", 3, "transform is 3: expected a name"),
        ("beta", "x", "beta is 'x': expected a number, for example 0.6"),
        ("beta", "1.5", "beta is 1.5: expected 0.5 to 1"),
        ("length", "-1", "length is -1: expected 0 or more"),
        ("transform", "whiten", "transform is 'whiten': expected one of none, l2, standardize, pca"),
        ("objective", "scan", "unknown setting 'objective'"),
        ("head", "tail", "unknown head 'tail'"),
    ],
)
def test_wrong_types_and_ranges_are_refused_by_name(name, value, message):
    with pytest.raises(SettingError) as caught:
        change_settings(PRESETS["temi"]["ours"], {name: value})
    assert str(caught.value).startswith(message)


@given(st.sampled_from([s.name for s in list_settings(PRESETS["temi"]["ours"])]), st.text(max_size=8))
def test_any_text_is_a_value_or_one_line(name, value):
    line = name
    try:
        change_settings(PRESETS["temi"]["ours"], {name: value})
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
        change_settings(PRESETS[method]["ours"], {name: "1"})


def test_objective_settings_is_no_setting_of_its_own():
    with pytest.raises(SettingError, match="unknown setting"):
        change_settings(PRESETS["temi"]["ours"], {"objective_settings": {"beta": 1.0}})
