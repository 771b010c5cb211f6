"""Commands against their options, verbs and settings: names, types, choices and defaults that disagree fail here."""

import inspect
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path

import click
import pytest

from headclust import choices, cli, verbs
from headclust.backbones import PRESETS as PREPROCESSINGS
from headclust.cli.embed import embed as embed_command
from headclust.device import PRECISIONS
from headclust.embedding import EmbedSettings
from headclust.export import FILES, MODES
from headclust.features import FEATURE_DTYPES
from headclust.images.augment import AUGMENTATIONS
from headclust.images.datasets import SOURCES
from headclust.methods import METHODS, PRESETS

COMMANDS = dict(sorted(cli.cli.commands.items()))
# Options of the command line alone: they choose what is printed, or are put together before the verb is called.
OF_THE_COMMAND_LINE = {"as_json", "open_it", "copy", "move", "layout"}
VERBS = {name: getattr(verbs, "import_array" if name == "import" else name) for name in COMMANDS}
SETTINGS = {field.name for field in fields(EmbedSettings)}
RENAMED = {"verify": {"file": "path"}, "demo": {"output": "folder"}}


def passed_on(name: str) -> list[click.Parameter]:
    """Parameters that a command gets: all but --quiet, which every command has."""
    return [parameter for parameter in COMMANDS[name].params if parameter.expose_value]


def written_parameters(command: click.Command) -> dict[str, object]:
    """Annotations of the function under a command; those of EmbedSettings stand for its argument `settings`."""
    function = inspect.unwrap(command.callback)
    hints = typing.get_type_hints(function, vars(inspect.getmodule(function)))
    annotations = {name: hints[name] for name in inspect.signature(function).parameters}
    if annotations.pop("settings", None) is EmbedSettings:
        annotations |= {name: hint for name, hint in typing.get_type_hints(EmbedSettings).items() if name in SETTINGS}
    return annotations


def optional(hint: object) -> tuple[object, bool]:
    """A type without None, and whether None was part of it."""
    if not isinstance(hint, types.UnionType) and typing.get_origin(hint) is not typing.Union:
        return hint, False
    (plain,) = (part for part in typing.get_args(hint) if part is not type(None))
    return plain, True


def expected_type(parameter: click.Parameter) -> object:
    """The type of what click hands to the command."""
    if isinstance(parameter.type, click.Choice):
        single: object = typing.Literal[tuple(parameter.type.choices)]
    elif isinstance(parameter.type, click.Path):
        single = Path
    else:
        names = {"integer": int, "integer range": int, "float": float, "boolean": bool, "text": str}
        single = names[parameter.type.name]
    return Sequence[single] if parameter.multiple or parameter.nargs == -1 else single


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_its_own_options(name):
    written = written_parameters(COMMANDS[name])
    assert set(written) == {parameter.name for parameter in passed_on(name)}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_types_of_a_command_are_those_of_its_options(name):
    written = written_parameters(COMMANDS[name])
    for parameter in passed_on(name):
        hint, may_be_none = optional(written[parameter.name])
        assert hint == expected_type(parameter), parameter.name
        many = parameter.multiple or parameter.nargs == -1
        flag = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
        has_value = many or flag or parameter.required or isinstance(parameter.default, int | float | str | Path)
        assert may_be_none is not has_value, parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_offers_what_its_verb_takes(name):
    renamed = RENAMED.get(name, {})
    offered = {renamed.get(parameter.name, parameter.name) for parameter in passed_on(name)}
    taken = set(inspect.signature(VERBS[name]).parameters)
    if "settings" in taken and name == "embed":
        taken = (taken - {"settings"}) | SETTINGS
    if name == "export":
        taken -= {"how"}
    if name == "review":
        taken -= {"on_start"}
    assert offered - OF_THE_COMMAND_LINE == taken


def test_the_options_of_embed_have_the_defaults_of_its_settings():
    options = {parameter.name: parameter for parameter in embed_command.params}
    for field in fields(EmbedSettings):
        assert field.default is not MISSING
        option = options[field.name]
        default = option.default if isinstance(option.default, int | float | str) else None
        assert (bool(default) if option.is_flag else default) == field.default, field.name


@pytest.mark.parametrize(
    ("literal", "registry"),
    [
        (choices.Method, METHODS),
        (choices.Method, PRESETS),
        (choices.Dtype, sorted(FEATURE_DTYPES, reverse=True)),
        (choices.Precision, PRECISIONS),
        (choices.Augmentation, AUGMENTATIONS),
        (choices.Preprocessing, PREPROCESSINGS),
        (choices.ExportFormat, [*FILES, "folders"]),
        (choices.Transfer, MODES),
    ],
)
def test_choices_are_those_of_the_registry(literal, registry):
    assert sorted(typing.get_args(literal)) == sorted(registry)


def test_the_sources_are_named_in_the_help():
    (data,) = (parameter for parameter in embed_command.params if parameter.name == "data")
    assert all(name in data.help for name in SOURCES)
