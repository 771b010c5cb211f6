"""The documentation against the code, by docs/check.py; and that checker against documentation that is wrong."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headclust.cli import cli
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import list_settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))  # where check.py finds the modules beside it
_spec = importlib.util.spec_from_file_location("docs_check", ROOT / "docs" / "check.py")
check = importlib.util.module_from_spec(_spec)
sys.modules["docs_check"] = check  # where dataclasses look for a class's module
_spec.loader.exec_module(check)


def findings(tmp_path: Path, text: str, name: str = "page.md") -> list[str]:
    """What the checker says of a page with this text, apart from commands that lack their block."""
    (tmp_path / "Makefile").write_text("demo: stamp\nBIN := x\n")
    (tmp_path / name).write_text(text, encoding="utf-8")
    return [line for line in check.check(tmp_path) if not line.startswith(check.COMMANDS_PAGE)]


def test_the_documentation_holds():
    assert check.check(ROOT) == []


def test_every_method_has_its_page_and_settings_table():
    for method in METHODS:
        text = (ROOT / "docs" / "methods" / f"{method}.md").read_text(encoding="utf-8")
        assert f"<!-- generated: settings {method} -->" in text
        for setting in list_settings(PRESETS[method]["ours"]):
            assert f"| `{setting.name}` |" in text


def test_the_readme_shows_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^make demo\b", text, re.MULTILINE)
    assert re.search(r"^make test\b", text, re.MULTILINE)
    assert "pip install ." in text


def test_help_blocks_are_what_a_pipe_gets():
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "headclust", "fit", "--help"]
    piped = subprocess.run(command, capture_output=True, check=True, env=environment, stdin=subprocess.DEVNULL)
    assert check.help_text("fit") == piped.stdout.decode()


def test_help_blocks_do_not_depend_on_the_terminal(monkeypatch):
    before = check.help_text("embed")
    monkeypatch.setenv("COLUMNS", "200")
    assert check.help_text("embed") == before


def test_the_import_order_is_the_one_that_is_tested():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    fences, _ = check.split_fences(text[text.index("## Import order") :])
    tree = ast.parse((ROOT / "tests" / "test_layering.py").read_text(encoding="utf-8"))
    (order,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "ORDER")
    assert [set(line.split(" | ")) for line in fences[0].text.splitlines()] == ast.literal_eval(order)


def test_the_layout_names_every_module():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^  (\w+(?:\.py|/)) ", text, re.MULTILINE))
    there = {path.name for path in (ROOT / "headclust").glob("*.py")}
    there |= {f"{path.parent.name}/" for path in (ROOT / "headclust").glob("*/__init__.py")}
    assert listed == there


def test_write_renews_a_stale_block(tmp_path):
    page = "# Settings\n\n<!-- generated: settings kmeans -->\nold\n<!-- /generated -->\n\nafter\n"
    assert any("out of date" in line for line in findings(tmp_path, page))
    assert check.renew(tmp_path) == [tmp_path / "page.md"]
    renewed = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| `n_heads` | 10 | 2 |" in renewed
    assert renewed.endswith("<!-- /generated -->\n\nafter\n")
    assert findings(tmp_path, renewed) == []
    assert check.renew(tmp_path) == []


def test_a_command_without_its_block_is_found(tmp_path):
    (tmp_path / "Makefile").touch()
    assert len(check.check(tmp_path)) == len(cli.commands)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](missing.md)", "there is no missing.md"),
        ("[a](../outside.md)", "there is no ../outside.md"),
        ("# One\n\n[a](#two)", "no heading"),
        ("[a]: missing.md", "there is no missing.md"),
        ("```\nx\n```", "without a language"),
        ("```json\n{}\n", "not closed"),
        ("```json\n{'a': 1}\n```", "does not parse"),
        ("```python\nfrom headclust import nothing\n```", "headclust has no nothing"),
        ("```python\nx = (\n```", "does not parse"),
        ("```sh\necho 'unclosed\n```", "does not parse"),
        ("```sh\nmake fly\n```", "no such target"),
        ("Say `make fly`.", "no such target"),
        ("```sh\nmake BIN\n```", "no such target"),
        ("```sh\nheadclust fitt\n```", "no command 'fitt'"),
        ("```sh\nheadclust fit --clusterz 3\n```", "--clusterz"),
        ("```sh\nheadclust fit --clusters many\n```", "many"),
        ("```sh\nheadclust embed --data photos\n```", "--model"),
        ("```sh\nheadclust embed --model dino_vitb17\n```", "dino_vitb17"),
        ("```sh\nheadclust fit --method means\n```", "means"),
        ("```sh\nheadclust fit --set betta=1\n```", "betta"),
        ("```sh\nheadclust fit --set beta=x\n```", "beta"),
        ("```sh\nheadclust fit \\\n  --nothing | head\n```", "--nothing"),
        ("```console\n$ headclust nothing\nheadclust: whatever it prints\n```", "no command 'nothing'"),
        ("Say `headclust fit --nothing`.", "--nothing"),
        ("Say `headclust nothing`.", "no command 'nothing'"),
        ("<!-- generated: nothing -->\n<!-- /generated -->", "expected help"),
        ("<!-- generated: help fit -->\n", "not closed"),
    ],
)
def test_what_does_not_hold_is_found(tmp_path, text, found):
    lines = findings(tmp_path, text)
    assert len(lines) == 1
    assert found in lines[0]


@pytest.mark.parametrize(
    "text",
    [
        "# A `code` & more: (it)\n\n[a](#a-code--more-it) [b](page.md#a-code--more-it) [c](https://example.org/x#y)",
        "# A\n\n# A\n\n[a](#a-1)",
        "`[a](missing.md)`",
        "```text\n[a](missing.md) headclust nothing\n```",
        "```sh\nmake demo VENV=x -n  # a comment\nheadclust fit a.h5 --eval b.h5 --set pairs.length=30 | head\n```",
        "Say `headclust embed --model`, `headclust COMMAND --help`, `headclust --version`.",
        "```jsonl\n{}\n[]\n```",
        "```python\nfrom headclust import verbs\nfrom headclust.features import load_features\n```",
        "<!-- any comment -->\n```sh\nfalse\n```",
    ],
)
def test_what_holds_is_left_alone(tmp_path, text):
    assert findings(tmp_path, text) == []


def test_other_tools_folders_are_not_ours(tmp_path):
    for folder in ("venv/lib", ".hidden", "node_modules", "runs"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "page.md").write_text("[a](missing.md)")
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    assert findings(tmp_path, "") == []


@pytest.mark.parametrize("page", ["docs/index.md", "docs/faq.md", "docs/how-to/page.md", "docs/tutorials/page.md"])
def test_pages_that_are_run_are_held_to_their_marks(tmp_path, page):
    for folder in ("how-to", "tutorials"):
        (tmp_path / "docs" / folder).mkdir(parents=True)
    (found,) = findings(tmp_path, "<!-- not run -->\n```sh\nfalse\n```", name=page)
    assert found == f"{page}: line 1: this comment is none of the marks that docs/blocks.py knows."


def test_the_pages_that_are_run_are_there():
    run = [path.relative_to(ROOT).as_posix() for path in check.pages(ROOT) if check.is_run(path, ROOT)]
    assert {"docs/index.md", "docs/faq.md"} <= set(run)
    named = {"info", "verify", "suggest"}  # in info-and-verify.md and number-of-groups.md
    assert {f"docs/how-to/{name}.md" for name in cli.commands if name not in named} <= set(run)
    assert "docs/how-to/number-of-groups.md" in run
    assert sum(name.startswith("docs/tutorials/") for name in run) == 2
