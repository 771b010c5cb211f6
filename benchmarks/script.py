"""Shared by the scripts around `study`: parsing of options, and errors in one line."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

# Threads that wait by spinning slow down a busy machine. It has to be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from study.dry_run import expectation
from study.plan import FeatureSpec, own_features
from study.presets import DATASETS

from headclust.errors import HeadclustError, SettingError, unknown
from headclust.progress import printable

__all__ = ["answer", "expectation", "feature_files", "folders", "names", "numbers"]


def answer(
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a script with its options and return the exit code: 2, after one line, for what a user can correct."""
    options = parser.parse_args(arguments)
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except HeadclustError as error:
        print(f"{name}.py: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"{name}.py: interrupted: the same command resumes here.", file=sys.stderr)
        return 130


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


def numbers(text: str) -> tuple[int, int]:
    """I and N from I/N."""
    part, _, of = text.partition("/")
    if not (part.isdecimal() and of.isdecimal()):
        raise SettingError(f"--shard {text}: expected I/N, for example 3/20.")
    return int(part), int(of)
