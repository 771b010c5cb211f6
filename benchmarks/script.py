"""Shared by the scripts: parsing of options, tiny runs, and errors in one line."""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# As the command line has it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from study.dry_run import expectation
from study.plan import FeatureSpec, own_features
from study.presets import DATASETS

from headclust.errors import HeadclustError, SettingError, unknown
from headclust.features import Features, load_features
from headclust.progress import printable

__all__ = ["answer", "expectation", "feature_files", "folders", "labeled_pair", "names", "numbers"]


def answer(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int | None],
    arguments: Sequence[str] | None = None,
    *,
    made: Mapping[argparse.Action, Callable[[Path], Any]] | None = None,
    **tiny: Any,
) -> int:
    """Run a script with its options and return the exit code: 2, after one line, for what a user can correct.

    Every script has the option --tiny: options that are not given then have the smallest sizes instead of their usual
    defaults, and inputs are made up in a temporary folder. benchmarks/tests/test_scripts.py runs every script so.

    Args:
        name: The script, without `.py`.
        parser: Its options.
        run: Runs it; a code of None is 0.
        arguments: Those of the command line when None.
        made: Inputs with --tiny, by the action that `parser.add_argument` returned: each is called with an empty folder
            and returns the value of the option.
        tiny: Values of options with --tiny.
    """
    parser.add_argument(
        "--tiny", action="store_true", help="made-up data and the smallest sizes: to see that the script works"
    )
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "--tiny" in given:
        _make_tiny(parser, made or {}, tiny)
    options = parser.parse_args(given)
    try:
        code = run(options)
        sys.stdout.flush()
        return code or 0
    except HeadclustError as error:
        print(f"{name}.py: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"{name}.py: interrupted: the same command resumes here.", file=sys.stderr)
        return 130


def _make_tiny(
    parser: argparse.ArgumentParser,
    made: Mapping[argparse.Action, Callable[[Path], Any]],
    values: Mapping[str, Any],
) -> None:
    """Change the defaults of the options to those of a tiny run; inputs made here are deleted at the end."""
    parser.set_defaults(**values)
    for action, make in made.items():
        folder = Path(tempfile.mkdtemp(prefix="headclust-tiny-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        action.default = make(folder)
        if not action.option_strings:  # a positional argument, which may now be left out
            action.default = [action.default] if action.nargs == "+" else action.default
            action.nargs = "*" if action.nargs == "+" else "?"
            action.required = False


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def folders(given: Sequence[str]) -> dict[str, Path]:
    """Folders of data sets from NAME=PATH."""
    pairs = [text.partition("=") for text in given]
    datasets = sorted({name for dataset in DATASETS.values() for name in (dataset.name, *dataset.folders)})
    for name, equals, path in pairs:
        if not (name and equals and path):
            raise SettingError(f"--data {name}{equals}{path}: expected NAME=PATH, for example cifar10=/data/cifar10.")
        if name not in datasets:
            raise unknown("data set", name, datasets)
    return {name: Path(path) for name, _, path in pairs}


def feature_files(given: Sequence[str]) -> list[tuple[FeatureSpec, FeatureSpec]]:
    """Own feature files from NAME=FILE, or NAME=FILE,TEST with another file to score."""
    pairs = [text.partition("=") for text in given]
    if twice := [name for name, count in Counter(name for name, _, _ in pairs).items() if count > 1]:
        raise SettingError(f"--features {twice[0]} is given twice: expected each name once.")
    specs = []
    for name, equals, text in pairs:
        fit, _, test = (text, "", "") if Path(text).exists() else text.partition(",")
        if not (name and equals and fit):
            raise SettingError(f"--features {name}{equals}{text}: expected NAME=FILE or NAME=FILE,TEST.")
        specs.append(own_features(name, Path(fit), Path(test or fit)))
    return specs


def labeled_pair(train: Path, test: Path) -> tuple[Features, Features]:
    """Two feature files of the same classes, in which every sample has a label.

    Raises:
        SettingError: A sample has no label, or the classes differ.
    """
    pair = load_features(train), load_features(test)
    for features in pair:
        if features.labels is None or features.labels.min() < 0:
            raise SettingError(f"{features.path} has samples without a label: embed labeled images.")
    if pair[0].class_names != pair[1].class_names:
        raise SettingError(f"{train} and {test} have different classes: give two splits of one data set.")
    return pair


def numbers(text: str) -> tuple[int, int]:
    """I and N from I/N."""
    part, _, of = text.partition("/")
    if not (part.isdecimal() and of.isdecimal()):
        raise SettingError(f"--shard {text}: expected I/N, for example 3/20.")
    return int(part), int(of)
