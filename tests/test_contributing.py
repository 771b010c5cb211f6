"""The lists of CONTRIBUTING.md, by adding one of each to a copy of the project in the listed files alone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DATASETS, OBJECTIVES = "headclust/images/datasets", "headclust/training/objectives"


class Edit(NamedTuple):
    """Text to put before or after another one in a file, or the whole of a new file."""

    path: str
    text: str
    before: str = ""
    after: str = ""

    def apply(self, root: Path) -> None:
        file, anchor = root / self.path, self.before or self.after
        if not anchor:
            file.write_text(self.text, encoding="utf-8")
            return
        content = file.read_text(encoding="utf-8")
        assert anchor in content, f"{self.path} has no {anchor!r}: this test is out of date"
        edited = self.text + anchor if self.before else anchor + self.text
        file.write_text(content.replace(anchor, edited, 1), encoding="utf-8")


SOURCE = '''"""Images of one color, for a test."""

from __future__ import annotations

from PIL import Image

from headclust.images.datasets.imageset import ImageSet


def open_toy(path: str, split: str | None) -> ImageSet:
    """Six images of one color each."""
    ids = tuple("abcdef")
    stamps = ((0, 0),) * 6
    return ImageSet("toy", split or "all", "toy", ids, None, (), stamps, lambda row: Image.new("RGB", (8, 8), row))
'''
OBJECTIVE = '''"""SCAN under another name, for a test."""

from headclust.training.objectives.scan import Scan


class Toy(Scan):
    """The SCAN objective.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters per head.
        settings: Those of SCAN.
    """
'''
METHOD = '''"""A method that trains with the objective toy, for a test."""

from headclust.methods import gradient
from headclust.training.stages import Stage

PRESETS = {"ours": (Stage(objective="toy", unit="steps", length=3, warmup=0, freeze_last_layer=0),)}

fit = gradient.fit
'''
VERB = '''"""The verb `toy`, for a test."""

from __future__ import annotations

from pathlib import Path

from headclust.features import load_features


def toy(path: Path) -> int:
    """Number of samples in a feature file."""
    return load_features(path).n_samples
'''
COMMAND = '''"""The command `toy`, for a test."""

from __future__ import annotations

from pathlib import Path

import click

from headclust.cli.options import PATH


@click.command()
@click.argument("path", type=PATH)
def toy(path: Path) -> None:
    """Count the samples of a feature file."""
    from headclust import verbs

    click.echo(verbs.toy(path))
'''
BACKBONE = '    _timm("toy_vit", "vit_tiny_patch16_224.augreg_in21k", 192, 5_524_416, license="Apache-2.0"),\n'
EDITS = {
    "A backbone": [
        Edit("headclust/backbones/catalog_today.py", BACKBONE, after="TODAY: tuple[Entry, ...] = (\n"),
    ],
    "A source of images": [
        Edit(f"{DATASETS}/toy.py", SOURCE),
        Edit(
            f"{DATASETS}/__init__.py",
            "from headclust.images.datasets.toy import open_toy\n",
            before="\n__all__ = ",
        ),
        Edit(f"{DATASETS}/__init__.py", '    "toy": open_toy,\n', after='    "stl10": open_stl10,\n'),
        Edit("headclust/cli/embed.py", "toy, ", before="webdataset, hf)"),
        Edit("docs/sources.md", "\n`toy:PATH` has six images of one color each.\n", after="# Sources\n"),
    ],
    "An objective": [
        Edit(f"{OBJECTIVES}/toy.py", OBJECTIVE),
        Edit(f"{OBJECTIVES}/__init__.py", "from headclust.training.objectives.toy import Toy\n", before="\nOBJECTIVES"),
        Edit(f"{OBJECTIVES}/__init__.py", '    "toy": Toy,\n', after='    "scan": Scan,\n'),
        Edit("headclust/training/parts.py", '    "toy": ScanSettings,\n', after='    "scan": ScanSettings,\n'),
    ],
    "A method": [
        Edit("headclust/methods/toy.py", METHOD),
        Edit("headclust/methods/registry.py", "    toy,\n", before="    turtle,\n"),
        Edit("headclust/methods/registry.py", '    "toy": toy,\n', after='    "turtle": turtle,\n'),
        Edit("headclust/choices.py", '    "toy",\n', after='    "turtle",\n'),
        Edit("docs/methods/toy.md", "# toy\n\n<!-- generated: settings toy -->\n<!-- /generated -->\n"),
        Edit("docs/index.md", "- [toy](methods/toy.md)\n", before="- [turtle](methods/turtle.md)\n"),
    ],
    "A verb": [
        Edit("headclust/verbs/toy.py", VERB),
        Edit("headclust/verbs/__init__.py", "    from headclust.verbs.toy import toy\n", before="\n__all__ = "),
        Edit("headclust/verbs/__init__.py", '    "toy",\n', before='    "verify",\n'),
        Edit("headclust/cli/toy.py", COMMAND),
        Edit("headclust/cli/__init__.py", "    toy,\n", before="    verify,\n)"),
        Edit("headclust/cli/__init__.py", "    toy.toy,\n", before="    verify.verify,\n"),
        Edit(
            "docs/command-line.md",
            "<!-- generated: help toy -->\n<!-- /generated -->\n\n",
            before="<!-- generated: help verify -->",
        ),
        Edit("docs/how-to/toy.md", "# Count samples\n\nWith `headclust toy`.\n"),
        Edit("docs/index.md", "- [Count samples](how-to/toy.md)\n", before="- [Fit a method](how-to/fit.md)\n"),
    ],
}
USE = """
import numpy as np
from pathlib import Path
from headclust import Recipe, verbs, write_features
from headclust.images.datasets import open_source

assert any(row["name"] == "toy_vit" for row in verbs.models())
assert len(open_source("toy:anywhere")) == 6
rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
path = write_features(Path("rows.h5"), rows, sample_ids=[str(row) for row in range(60)], dataset="d", backbone="b")
verbs.fit([path], method="toy", clusters=3, output=Path("run"))
assert Recipe.of("toy").values["entropy_weight"] == 5.0
assert verbs.toy(path) == 60
"""


def listed(change: str) -> dict[str, bool]:
    """The files that CONTRIBUTING.md lists for a change, and whether `make docs` renews them."""
    section = PAGE[PAGE.index(f"### {change}\n") :].split("\n### ")[0]
    rows = re.findall(r"^- `([^`]+)`( \*)?", section, re.MULTILINE)
    return {path.replace("NAME", "toy"): bool(star) for path, star in rows}


@pytest.mark.parametrize("change", EDITS)
def test_the_edits_are_in_the_listed_files(change):
    files = listed(change)
    assert {edit.path for edit in EDITS[change]} | {path for path, star in files.items() if star} == set(files)


@pytest.mark.slow
def test_one_of_each_can_be_added_in_the_listed_files(tmp_path):
    copy, folder = tmp_path / "project", tmp_path / "use"
    folder.mkdir()
    for name in ("headclust", "tests", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for file in (file for file in ROOT.iterdir() if file.is_file()):
        shutil.copy(file, copy)
    for edit in (edit for edits in EDITS.values() for edit in edits):
        edit.apply(copy)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), str(copy / "docs")])}

    def run(*command: str, where: Path) -> None:
        done = subprocess.run([sys.executable, *command], cwd=where, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command[:2]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"

    run("docs/check.py", "--write", where=copy)  # fails for a page, link or block that the lists forget
    run("-c", USE, where=folder)
    run("-m", "pytest", "-q", "tests/cli/test_signatures.py", "tests/test_layering.py", where=copy)
