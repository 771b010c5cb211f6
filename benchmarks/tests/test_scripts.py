"""Every script runs at a tiny size, and the documentation names scripts and options that exist."""

import contextlib
import importlib.util
import io
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from headclust import write_features

BENCHMARKS = Path(__file__).resolve().parent.parent
DOCS = BENCHMARKS.parent / "docs"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if '__name__ == "__main__"' in path.read_text())
PAGES = sorted((*DOCS.rglob("*.md"), *BENCHMARKS.glob("*.py"), BENCHMARKS.parent / "README.md"))
COMMAND = re.compile(r"python\s+benchmarks/(?P<script>\w+)\.py(?P<options>(?:[^`\n]|\\\n)*)")
OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")


@pytest.fixture(autouse=True)
def own_modules():
    """Scripts are imported as top-level modules, which other tests must not find."""
    before = set(sys.modules)
    yield
    for name in {*SCRIPTS, *(f"script_{name}" for name in SCRIPTS)} & (set(sys.modules) - before):
        del sys.modules[name]


def script(name):
    """The module of a script, by its path: other folders have modules of the same name."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", BENCHMARKS / f"{name}.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_a_tiny_run(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert script(name).main(["--tiny"]) == 0
    assert capsys.readouterr().out.strip()
    assert not any(tmp_path.iterdir())  # it leaves nothing behind


@pytest.mark.parametrize("name", ["ceilings", "labelings"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [(None, "without a label"), ([0, -1, 1], "without a label"), ([0, 1, 1], "different classes")],
)
def test_two_files_need_labels_of_the_same_classes(name, labels, message, tmp_path, capsys):
    rows = np.eye(3, 4, dtype=np.float32)
    names = [("cat", "dog"), ("dog", "owl") if labels else ()]
    for split, given, classes in zip(("train", "test"), ([0, 1, 1], labels), names, strict=True):
        given = None if given is None else np.array(given)
        about = {"sample_ids": list("abc"), "dataset": "made-up", "backbone": "array"}
        write_features(tmp_path / f"{split}.h5", rows, labels=given, class_names=classes, **about)
    assert script(name).main([str(tmp_path / f"{split}.h5") for split in ("train", "test")]) == 2
    assert message in capsys.readouterr().err


@cache
def help_of(name):
    """The options that a script lists."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        script(name).main(["--help"])
    return set(OPTION.findall(printed.getvalue().partition("options:")[2]))


def test_documented_commands_exist_as_written():
    commands = [(page, match) for page in PAGES for match in COMMAND.finditer(page.read_text(encoding="utf-8"))]
    assert len(commands) > 20
    for page, match in commands:
        script, options = match["script"], set(OPTION.findall(match["options"].replace("\\\n", " ")))
        assert script in SCRIPTS, f"{page.name}: {match[0]}"
        assert options <= help_of(script), f"{page.name}: {match[0]}: {options - help_of(script)}"
