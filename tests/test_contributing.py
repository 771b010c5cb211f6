"""The lists of CONTRIBUTING.md, by adding one of each to a copy of the project in the listed files alone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEW = "toy"
# (file, text, text that replaces it); without a text to replace, the file is new.
ADDITIONS: dict[str, list[tuple[str, str, str]]] = {
    "A backbone": [
        (
            "headclust/backbones/catalog_today.py",
            "TODAY: tuple[Entry, ...] = (\n",
            "TODAY: tuple[Entry, ...] = (\n"
            f'    _timm("{NEW}_vit", "vit_tiny_patch16_224.augreg_in21k", 192, 5_524_416, license="Apache-2.0"),\n',
        ),
    ],
    "A source of images": [
        (
            f"headclust/images/datasets/{NEW}.py",
            "",
            '"""Images of one color, for a test."""\n\n'
            "from __future__ import annotations\n\n"
            "from PIL import Image\n\n"
            "from headclust.images.datasets.imageset import ImageSet\n\n\n"
            f"def open_{NEW}(path: str, split: str | None) -> ImageSet:\n"
            '    """Six images of one color each."""\n'
            "    ids = tuple(str(row) for row in range(6))\n"
            "    return ImageSet(\n"
            f'        dataset="{NEW}",\n'
            '        split=split or "all",\n'
            f'        source="{NEW}",\n'
            "        sample_ids=ids,\n"
            "        labels=None,\n"
            "        class_names=(),\n"
            "        stamps=((0, 0),) * 6,\n"
            '        read=lambda row: Image.new("RGB", (8, 8), (40 * row, 0, 0)),\n'
            "    )\n",
        ),
        (
            "headclust/images/datasets/__init__.py",
            "from headclust.images.datasets.subset import",
            f"from headclust.images.datasets.{NEW} import open_{NEW}\nfrom headclust.images.datasets.subset import",
        ),
        ("headclust/images/datasets/__init__.py", '    "stl10": open_stl10,', f'    "stl10": open_stl10,\n    "{NEW}":
        open_{NEW},'),
        ("headclust/cli/embed.py", "fashion-mnist, webdataset, hf)", f"fashion-mnist, {NEW}, webdataset, hf)"),
        ("docs/sources.md", "# Sources\n", f"# Sources\n\n`{NEW}:PATH` has six images of one color each.\n"),
    ],
    "An objective": [
        (
            f"headclust/training/objectives/{NEW}.py",
            "",
            '"""SCAN under another name, for a test."""\n\n'
            "from headclust.training.objectives.scan import Scan\n\n\n"
            "class Toy(Scan):\n"
            '    """The SCAN objective.\n\n'
            "    Args:\n"
            "        n_heads: Number of heads.\n"
            "        n_clusters: Number of clusters per head.\n"
            "        entropy_weight: Weight of the entropy of the mean prediction.\n"
            '    """\n',
        ),
        (
            "headclust/training/objectives/__init__.py",
            "from headclust.training.objectives.turtle import Turtle",
            f"from headclust.training.objectives.{NEW} import Toy\nfrom headclust.training.objectives.turtle import Turtle",
        ),
        ("headclust/training/objectives/__init__.py", '    "scan": Scan,', f'    "scan": Scan,\n    "{NEW}": Toy,'),
    ],
    "A method": [
        (
            f"headclust/methods/{NEW}.py",
            "",
            f'"""A method that trains with the objective {NEW}, for a test."""\n\n'
            "from headclust.methods import gradient\n"
            "from headclust.training.stages import Stage\n\n"
            f'PRESETS = {{"ours": (Stage(objective="{NEW}", unit="steps", length=3, warmup=0,
            freeze_last_layer=0),)}}\n\n'
            "fit = gradient.fit\n",
        ),
        ("headclust/methods/registry.py", "    turtle,\n", f"    {NEW},\n    turtle,\n"),
        ("headclust/methods/registry.py", '    "turtle": turtle,', f'    "turtle": turtle,\n    "{NEW}": {NEW},'),
        ("headclust/choices.py", '    "turtle",', f'    "turtle",\n    "{NEW}",'),
        (f"docs/methods/{NEW}.md", "", f"# {NEW}\n\n<!-- generated: settings {NEW} -->\n<!-- /generated -->\n"),
        ("docs/index.md", "- [turtle](methods/turtle.md)", f"- [turtle](methods/turtle.md)\n-
        [{NEW}](methods/{NEW}.md)"),
    ],
    "A verb": [
        (
            f"headclust/verbs/{NEW}.py",
            "",
            f'"""The verb `{NEW}`, for a test."""\n\n'
            "from __future__ import annotations\n\n"
            "from pathlib import Path\n\n"
            "from headclust.features import load_features\n\n\n"
            f"def {NEW}(path: Path) -> int:\n"
            '    """Number of samples in a feature file."""\n'
            "    return load_features(path).n_samples\n",
        ),
        (
            "headclust/verbs/__init__.py",
            "from headclust.verbs.verify import verify",
            f"from headclust.verbs.{NEW} import {NEW}\nfrom headclust.verbs.verify import verify",
        ),
        ("headclust/verbs/__init__.py", '    "verify",', f'    "{NEW}",\n    "verify",'),
        (
            f"headclust/cli/{NEW}.py",
            "",
            f'"""The command `{NEW}`, for a test."""\n\n'
            "from __future__ import annotations\n\n"
            "from pathlib import Path\n\n"
            "import click\n\n"
            "from headclust.cli.options import PATH\n\n\n"
            "@click.command()\n"
            '@click.argument("path", type=PATH)\n'
            f"def {NEW}(path: Path) -> None:\n"
            '    """Count the samples of a feature file."""\n'
            "    from headclust import verbs\n\n"
            f"    click.echo(verbs.{NEW}(path))\n",
        ),
        ("headclust/cli/__init__.py", "    settings,\n    verify,\n", f"    settings,\n    {NEW},\n    verify,\n"),
        ("headclust/cli/__init__.py", "    verify.verify,\n", f"    verify.verify,\n    {NEW}.{NEW},\n"),
        (
            "docs/command-line.md",
            "<!-- generated: help verify -->",
            f"<!-- generated: help {NEW} -->\n<!-- /generated -->\n\n<!-- generated: help verify -->",
        ),
        (f"docs/how-to/{NEW}.md", "", "# Count samples\n\n<!-- not run: an example -->\n```sh\nheadclust
        --help\n```\n"),
        ("docs/index.md", "- [Fit a method](how-to/fit.md)", f"- [Fit a method](how-to/fit.md)\n- [Count samples](how-
        to/{NEW}.md)"),
    ],
}
USE = f"""
import numpy as np
from pathlib import Path
from headclust import Recipe, verbs, write_features
from headclust.images.datasets import open_source
assert any(row["name"] == "{NEW}_vit" for row in verbs.models())
assert len(open_source("{NEW}:anywhere")) == 6
rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
path = write_features(Path("rows.h5"), rows, sample_ids=[str(row) for row in range(60)], dataset="d", backbone="b")
run = verbs.fit([path], method="{NEW}", clusters=3, output=Path("run"))
assert Recipe.of("{NEW}").values["entropy_weight"] == 5.0
assert verbs.{NEW}(path) == 60
"""


def listed(change: str) -> set[str]:
    """The files that CONTRIBUTING.md lists for a change, for a thing of the name NEW."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index(f"### {change}\n") :].split("\n### ")[0].split("\n\nA page is")[0]
    return {path.replace("NAME", NEW) for path in re.findall(r"^- `([^`]+)`", section, re.MULTILINE)}


def generated(change: str) -> set[str]:
    """Those of them that `make docs` renews."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index(f"### {change}\n") :].split("\n### ")[0]
    return set(re.findall(r"^- `([^`]+)` \*", section, re.MULTILINE))


@pytest.mark.parametrize("change", ADDITIONS)
def test_the_additions_touch_the_listed_files(change):
    touched = {path for path, _, _ in ADDITIONS[change]}
    assert touched | generated(change) == listed(change)


@pytest.mark.slow
def test_one_of_each_can_be_added_in_the_listed_files(tmp_path):
    copy = tmp_path / "project"
    for folder in ("headclust", "tests", "docs", "benchmarks"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for file in (file for file in ROOT.iterdir() if file.is_file()):
        shutil.copy(file, copy)
    for path, before, after in (edit for edits in ADDITIONS.values() for edit in edits):
        file = copy / path
        text = file.read_text(encoding="utf-8") if before else ""
        assert not before or before in text, f"{path} has no {before!r}: the test is out of date"
        file.write_text(text.replace(before, after, 1) if before else after, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), str(copy / "docs")])}

    def run(*command: str, folder: Path) -> None:
        done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command[:2]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"

    run("docs/check.py", "--write", folder=copy)
    (tmp_path / "use").mkdir()
    run("-c", USE, folder=tmp_path / "use")
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cli/test_signatures.py", "tests/test_layering.py",
    folder=copy)
