"""docs/blocks.py against pages that are wrong: blocks that fail, print something else or would go unrun are found."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import blocks  # noqa: E402


@pytest.fixture(autouse=True)
def few_imports(monkeypatch):
    monkeypatch.setattr(blocks, "HEAVY", ("headclust.cli",))


def run(tmp_path: Path, **texts: str) -> list[str]:
    """What does not hold of pages with these texts, in their order."""
    for name, text in texts.items():
        (tmp_path / f"{name}.md").write_text(text, encoding="utf-8")
    return blocks.run_pages(tmp_path, [tmp_path / f"{name}.md" for name in texts])


def test_blocks_that_do_what_they_show_pass(tmp_path):
    page = """# Page
<!-- before:
echo "made by $(basename "$ROOT")" > file.txt
-->
```sh
cat file.txt
cat nothing || echo no
```

Text between.

```text
made by ...
... No such file or directory
no
```

```python
print(open("file.txt").read().split()[0], 1 / 3)
```

<!-- output: numbers within 1 % -->
```text
made 0.333
```
"""
    assert run(tmp_path, page=page) == []


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ("```sh\nfalse\n```", "line 1: this block ended with exit code 1"),
        ("```sh\nfalse\necho done\n```", "exit code 1"),
        ("```sh\ncat missing | head -n 1\n```", "exit code 1"),
        ("```sh\necho $missing\n```", "exit code 1"),
        ("```python\nraise ValueError('no')\n```", "ValueError: no"),
        ("```python\nimport sys\nsys.exit(3)\n```", "exit code 3"),
        ("```sh\nheadclust fit --nothing\n```", "exit code 2"),
        ("<!-- before:\nfalse\n-->\n\n```sh\necho\n```", "exit code 1"),
        ("```sh\necho one\n```\n\n```text\ntwo\n```", "it printed\none\nand not\ntwo"),
        ("```sh\necho one >&2\n```\n\n```text\n```", "it printed\none"),
        ("```sh\necho 10\n```\n\n<!-- output: numbers within 5 % -->\n```text\n11\n```", "10 and not 11"),
    ],
)
def test_a_block_that_fails_or_prints_something_else_is_found(tmp_path, block, found):
    (problem,) = run(tmp_path, page=block)
    assert problem.startswith("page.md: line ")
    assert found in problem


def test_what_follows_a_failure_is_not_run(tmp_path):
    pages = {
        "first": f"```sh\nfalse\n```\n\n```sh\ntouch {tmp_path}/ran\n```",
        "second": f"<!-- continues: first.md -->\n```sh\ntouch {tmp_path}/ran\n```",
    }
    first, second = run(tmp_path, **pages)
    assert "first.md: line 1" in first
    assert second == "second.md: not run, because the page it continues has failed."
    assert not (tmp_path / "ran").exists()


def test_a_page_goes_on_where_another_ended_and_others_start_anew(tmp_path):
    look = "```sh\nls\n```\n\n```text\n%s\n```"
    pages = {
        "later": "<!-- continues: start.md -->\n" + look % "left",
        "start": "```sh\ntouch left\n```",
        "other": look % "",
    }
    assert run(tmp_path, **pages) == []
    assert "no page to start from" in run(tmp_path, lost="<!-- continues: nowhere.md -->\n```sh\ntrue\n```")[0]


def test_blocks_marked_as_not_run_are_not(tmp_path):
    page = "<!-- not run: it would fail -->\n```sh\nfalse\n```\n\n<!-- not run: too -->\n```python\n1 / 0\n```"
    assert run(tmp_path, page=page) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<!-- not run -->\n```sh\nfalse\n```", "none of the marks"),
        ("<!-- not run: -->\n```sh\nfalse\n```", "none of the marks"),
        ("<!-- notrun: why -->", "none of the marks"),
        ("<!-- output: about right -->\n```text\n```", "none of the marks"),
        ("<!-- output: not compared: -->\n```text\n```", "none of the marks"),
        ("<!-- not run: why -->\n```text\n```", "another kind of block"),
        ("<!-- output: numbers free: why -->\n```sh\ntrue\n```", "another kind of block"),
        ("<!-- not run: why -->", "no block after it"),
        ("- item\n\n  ```sh\n  false\n  ```", "start at the margin"),
        ("> ```sh\n> false\n> ```", "start at the margin"),
        ("~~~sh\nfalse\n~~~", "start at the margin"),
        ("```bash\nfalse\n```", "not bash"),
        ("```console\n$ false\n```", "not console"),
    ],
)
def test_marks_that_mean_nothing_and_blocks_that_would_go_unrun_are_found(text, found):
    assert found in blocks.read_page(text).problems[0]


def test_comments_inside_blocks_and_generated_parts_are_no_marks():
    text = "<!-- generated: help -->\n```text\n<!-- x -->\n```\n<!-- /generated -->\n"
    assert blocks.read_page(text).problems == []


@pytest.mark.parametrize(
    ("printed", "shown", "tolerance", "same"),
    [
        ("a\nb\n", "a\nb\n", None, True),
        ("a  \n\n", "a", None, True),
        ("a\nb", "a", None, False),
        ("a\nb\nc", "a\n...", None, True),
        ("a\nb\nc", "...\nb\n...", None, True),
        ("a\nb\nc", "...\nd\n...", None, False),
        ("took 12.5 s", "took ... s", None, True),
        ("x (1.5)", "x (1.5)", None, True),
        ("x 1.5", "x 1x5", None, False),
        ("n 1,000", "n 1,010", 0.02, True),
        ("n 1,000", "n 1,100", 0.02, False),
        ("n 0.5", "m 0.5", 0.02, False),
        ("n -0.5", "n 0.5", 1.0, False),
        ("n 7", "n 3", float("inf"), True),
        ("n 0", "n 0", float("inf"), True),
        ("n", "n 3", float("inf"), False),
        ("row,5,0.50", "row,1,0.75", float("inf"), True),
        ("lite0 1.0", "lite1 1.0", float("inf"), False),
        (" ────\n  1    2", " ──\n  1   22", float("inf"), True),
    ],
)
def test_outputs_are_compared(printed, shown, tolerance, same):
    assert (blocks.differs(printed, shown, tolerance) == "") is same


def test_a_block_that_hangs_is_ended(tmp_path):
    step = blocks.Step(1, "sh", "echo begun\nsleep 60\n")
    assert blocks.run_step(step, tmp_path, {"PATH": "/usr/bin:/bin"}, timeout=0.5) == (124, "begun\n")


def test_programs_have_the_folder_streams_and_environment_of_those_who_ask(tmp_path):
    page = """```sh
mkdir below
cd below
cat > ../show.py <<'END'
import os, sys
print(os.path.basename(os.getcwd()), os.environ["NOTE"], sys.argv[1], sys.stdin.read().strip())
END
echo input | NOTE=told headclust-python ../show.py argument
headclust --version 2>&1 | cut -c 1-9
```

```text
below told argument input
headclust
```
"""
    assert run(tmp_path, page=page) == []


def test_every_page_of_the_documentation_is_in_its_index():
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    entries = re.findall(r"<(.+)>$", conf.navigation((ROOT / "docs" / "index.md").read_text(encoding="utf-8")), re.M)
    listed = [(ROOT / "docs" / entry).resolve().relative_to(ROOT).as_posix() + ".md" for entry in entries]
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"docs/index.md"}
    assert sorted(listed) == sorted(there | {"CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"})


def test_navigation_takes_lists_of_pages_alone():
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    text = (
        "# T\n\n- [no](zero.md)\n\n## A\n\n- [one](a/one.md)\n- [web](https://x.y/z.md)\n\n## B\n\nSee [two](two.md).\n"
    )
    assert conf.navigation(text) == "```{toctree}\n:hidden:\n:caption: A\n\none <a/one>\n```"
