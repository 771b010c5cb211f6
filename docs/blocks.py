"""Runs what the tutorials and how-tos show: `python docs/check.py --run` runs every shell and Python block of them.

A page's blocks run in order in a temporary folder, each as a program of its own (shell: `bash -euo pipefail`). They may
take no network. A `text` block after one that was run is what it prints, stdout and stderr together; three dots in it
stand for anything. Comments say the rest, and are for those who read the source alone:

    <!-- continues: ../tutorials/own-folder.md -->   the page's blocks run where that page's have run, after them
    <!-- before: SHELL -->                           shell that makes what a reader has already; $ROOT is the checkout
    <!-- not run: REASON -->                         of the next block
    <!-- output: numbers within 10 % -->             the next `text` block may differ so far in its numbers
    <!-- output: numbers free: REASON -->            or as far as they like
    <!-- output: not compared: REASON -->            the next `text` block is an example
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = ("docs/index.md", "docs/tutorials/*.md", "docs/how-to/*.md", "docs/faq.md")
# What commands spend their start on.
HEAVY = ("headclust.cli", "headclust.verbs", "headclust.estimators", "faiss", "timm", "torchvision", "umap", "pyarrow")
TIMEOUT = 900  # seconds a block may take: on a free machine none takes a minute, on a busy one they have

_FENCE = re.compile(r"^(```+) *(\w*)\n(.*?)^\1 *$", re.DOTALL | re.MULTILINE)
_OTHER_FENCE = re.compile(r"^[ >\t]*(```|~~~)", re.MULTILINE)
_COMMENT = re.compile(r"^<!--(.*?)-->", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"\s*(continues|before|not run|output):\s*(\S.*?)\s*\Z", re.DOTALL)
_WITHIN = re.compile(r"numbers (?:within ([0-9.]+) %|free: .+)", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w|\.\d)")


@dataclass
class Step:
    """A block that is run, or made before one, and what it is to print.

    Attributes:
        line: Where it starts in its page, from 1.
        language: "sh" or "python".
        text: The program.
        printed: The text block that shows its output; None where there is none to compare.
        tolerance: How far the numbers in it may differ, as a share; None for not at all.
    """

    line: int
    language: str
    text: str
    printed: str | None = None
    tolerance: float | None = None


@dataclass
class Page:
    """What a page has to run, and what is wrong with how it says so.

    Attributes:
        continues: Link to the page in whose folder this one's blocks run; None for a folder of its own.
        steps: What is run, in order.
        problems: Marks that mean nothing, a line each.
    """

    continues: str | None = None
    steps: list[Step] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def is_run(path: Path, root: Path) -> bool:
    """Whether the blocks of a page are run."""
    return any(path.relative_to(root).match(pattern) for pattern in RUN)


def read_page(text: str) -> Page:
    """The blocks of a page and their marks."""
    page, skipped, rule, last = Page(), "", "", None
    spans = [(match.start(), match) for match in _FENCE.finditer(text)]
    inside = [(match.start(), match.end()) for _, match in spans]
    spans += [
        (match.start(), match)
        for match in _COMMENT.finditer(text)
        if not any(start <= match.start() < end for start, end in inside)
    ]
    for start, match in sorted(spans, key=lambda span: span[0]):
        line = text.count("\n", 0, start) + 1
        if match.re is _COMMENT:
            mark = _MARK.match(match[1])
            kind, value = mark.groups() if mark else ("", "")
            if kind == "continues":
                page.continues = value
            elif kind == "before":
                page.steps.append(Step(line, "sh", value + "\n"))
            elif kind == "not run":
                skipped = value
            elif kind == "output" and (_WITHIN.fullmatch(value) or re.fullmatch(r"not compared: .+", value, re.DOTALL)):
                rule = value
            elif not match[1].lstrip().startswith(("generated:", "/generated")):
                page.problems.append(f"line {line}: this comment is none of the marks that docs/blocks.py knows.")
            continue
        language, content = match[2], match[3]
        if language in ("sh", "python"):
            last = None if skipped else Step(line, language, content)
            page.steps += [last] if last else []
            skipped = ""
        elif language == "text" and last and not rule.startswith("not compared"):
            within = _WITHIN.fullmatch(rule)
            last.printed, last.tolerance = content, _tolerance(within)
            last = None
        if skipped or (rule and language != "text"):
            page.problems.append(f"line {line}: the comment before this block is about another kind of block.")
        skipped = rule = ""
    if skipped or rule:
        page.problems.append("the last comment has no block after it.")
    page.problems += [f"line {text.count(chr(10), 0, match.start()) + 1}: {why}" for why, match in _unseen(text)]
    return page


def _tolerance(within: re.Match[str] | None) -> float | None:
    return None if within is None else float(within[1]) / 100 if within[1] else math.inf


def _unseen(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Blocks that would go unrun without a word, each with the reason."""
    outside = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    yield from (("blocks start at the margin, with ```, here.", match) for match in _OTHER_FENCE.finditer(outside))
    for match in _FENCE.finditer(text):
        if match[2] in ("bash", "shell", "console", "py", "pycon"):
            yield f"blocks here are sh, python or text, not {match[2]}.", match


def differs(printed: str, wanted: str, tolerance: float | None) -> str:
    """Why an output is not the one shown, in a line; empty where it is."""
    got, shown = ("\n".join(line.rstrip() for line in text.strip("\n").splitlines()) for text in (printed, wanted))
    pattern = "".join(
        r"[\s\S]*?" if part == "..." else _pattern(part, tolerance) for part in re.split(r"(\.\.\.)", shown)
    )
    match = re.fullmatch(pattern, got)
    if match is None:
        return f"it printed\n{got}\nand not\n{shown}"
    if tolerance is None:
        return ""
    pairs = zip(_NUMBER.findall(shown), match.groups(), strict=True)
    far = [f"{now} and not {told}" for told, now in pairs if not _close(told, now, tolerance)]
    return f"numbers are further than {tolerance:.0%} from those shown: {', '.join(far)}" if far else ""


def _pattern(text: str, tolerance: float | None) -> str:
    if tolerance is None:
        return re.escape(text)
    # Widths follow the numbers, so blanks and the lines of tables may be longer or shorter.
    parts = re.split(f"({_NUMBER.pattern}|[ ─]+)", text)
    return "".join(
        f"({_NUMBER.pattern})"
        if _NUMBER.fullmatch(part)
        else "[ ─]+"
        if part.strip(" ─") == "" and part
        else re.escape(part)
        for part in parts
    )


def _close(told: str, now: str, tolerance: float) -> bool:
    one, other = (float(number.replace(",", "")) for number in (told, now))
    return one == other or abs(one - other) <= tolerance * max(abs(one), abs(other))


def run_pages(root: Path, paths: Sequence[Path], *, jobs: int = 2) -> list[str]:
    """Runs the blocks of pages and returns what does not hold, a line each; says on stderr how long each page took.

    Args:
        root: The checkout.
        paths: Pages; those that continue another need it among them.
        jobs: Pages that are run at once. Those that continue one another take turns.
    """
    pages = {path: read_page(path.read_text(encoding="utf-8")) for path in paths}
    problems = [f"{_name(path, root)}: {line}" for path, page in pages.items() for line in page.problems]
    first = {path: (path.parent / page.continues).resolve() if page.continues else path for path, page in pages.items()}
    for path, start in first.items():
        if start not in pages or first[start] != start:
            problems.append(
                f"{_name(path, root)}: it continues {pages[path].continues}, which is no page to start from."
            )
    chains = [
        [path, *(other for other in paths if first[other] == path != other)] for path in paths if first[path] == path
    ]
    chains = [[path for path in chain if pages[path].steps] for chain in chains]
    with _warm() as environment, ThreadPoolExecutor(jobs) as pool:
        longest = sorted(chains, key=len, reverse=True)
        found = pool.map(lambda chain: _run_chain(chain, pages, root, environment), longest)
        return problems + [line for lines in found for line in lines]


def _run_chain(chain: Sequence[Path], pages: dict[Path, Page], root: Path, environment: dict[str, str]) -> list[str]:
    """Runs pages in one folder; a page whose start failed is not run, as it would fail of that."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="headclust-docs-") as folder:
        for path in chain:
            if problems and path is not chain[0] and problems[0].startswith(f"{_name(chain[0], root)}:"):
                problems.append(f"{_name(path, root)}: not run, as what it continues has failed.")
                continue
            began = time.monotonic()
            problems += [
                f"{_name(path, root)}: {line}" for line in _run_page(pages[path], Path(folder), root, environment)
            ]
            print(f"{_name(path, root)}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return problems


def _run_page(page: Page, folder: Path, root: Path, environment: dict[str, str]) -> Iterator[str]:
    for step in page.steps:
        code, printed = run_step(step, folder, {**environment, "ROOT": str(root)})
        if code != 0:
            yield f"line {step.line}: this block ended with exit code {code}:\n{printed}"
            return  # the next ones build on it
        if step.printed is not None and (why := differs(printed, step.printed, step.tolerance)):
            yield f"line {step.line}: this block's output is not what the page shows: {why}"


def run_step(step: Step, folder: Path, environment: dict[str, str], *, timeout: float = TIMEOUT) -> tuple[int, str]:
    """Runs a block; returns its exit code and what it printed. One that takes too long is ended, with 124."""
    if step.language == "python":
        program = folder / ".block.py"
        program.write_text(step.text, encoding="utf-8")
        command = ["headclust-python", str(program)]
    else:
        command = ["bash", "-euo", "pipefail", "-c", step.text]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=timeout)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            code = 124
    return code, printed.decode(errors="replace").replace(str(folder), "...")


@contextmanager
def _warm() -> Iterator[dict[str, str]]:
    """The environment of blocks: `headclust` and Python from a process with its imports done, nothing from the net."""
    with tempfile.TemporaryDirectory(prefix="headclust-warm-") as folder:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("COLUMNS", "LINES", "PYTHONPATH", "DISPLAY")
        }
        environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
        environment["PATH"] = os.pathsep.join([folder, str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        address, warm = Path(folder, "socket"), HERE / "warm.py"
        for name, program in (("headclust", "headclust"), ("headclust-python", "")):
            client = Path(folder, name)
            client.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ISE "{warm}" ask "{address}" {program} "$@"\n')
            client.chmod(0o755)
        command = [sys.executable, str(warm), "serve", str(address), *HEAVY]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, start_new_session=True) as server:
            try:
                yield environment
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
