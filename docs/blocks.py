"""Run the blocks of the tutorials and how-tos: `python docs/check.py --run` runs every shell and Python block.

The blocks of a page run in order in a temporary folder, each as a separate program (shell: `bash -euo pipefail`),
without network. A `text` block after such a block is its expected output, stdout and stderr together; three dots in it
match anything. Comments in the source of a page change this:

    <!-- continues: ../tutorials/own-folder.md -->   run in the folder of that page, as its blocks left it
    <!-- before: SHELL -->                           run this shell first; $ROOT is the checkout
    <!-- not run: REASON -->                         do not run the next block
    <!-- output: numbers within 10 % -->             tolerance of the numbers in the next `text` block
    <!-- output: numbers free: REASON -->            do not compare the numbers in the next `text` block
    <!-- output: not compared: REASON -->            do not compare the next `text` block
"""

from __future__ import annotations

import math
import os
import re
import shutil
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
# Modules whose import takes most of the start of a command.
HEAVY = (
    "headclust.cli",
    "headclust.methods",
    "headclust.training.train",
    "headclust.graph.matrix",
    "headclust.estimators",
)
HEAVY += ("faiss", "timm", "torchvision", "umap", "pyarrow")
TIMEOUT = 900  # seconds per block: less than a minute on a free machine, but more on a busy one

_FENCE = re.compile(r"^(```+) *(\w*)\n(.*?)^\1 *$", re.DOTALL | re.MULTILINE)
_OTHER_FENCE = re.compile(r"^[ >\t]*(```|~~~)", re.MULTILINE)
_COMMENT = re.compile(r"^<!--(.*?)-->", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"\s*(continues|before|not run|output):\s*(\S.*?)\s*\Z", re.DOTALL)
_WITHIN = re.compile(r"numbers (?:within ([0-9.]+) %|free: .+)", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w|\.\d)")


@dataclass
class Step:
    """A block to run, and its expected output.

    Attributes:
        line: Line of the page at which it starts, from 1.
        language: "sh" or "python".
        text: The program.
        printed: The expected output; None if it is not compared.
        tolerance: Relative tolerance of the numbers in it; None for exact numbers.
    """

    line: int
    language: str
    text: str
    printed: str | None = None
    tolerance: float | None = None


@dataclass
class Page:
    """The blocks of a page to run, and problems of its marks.

    Attributes:
        continues: Link to the page in whose folder the blocks run; None for a separate folder.
        steps: Blocks to run, in order.
        problems: Marks that are not valid, one line each.
    """

    continues: str | None = None
    steps: list[Step] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def is_run(path: Path, root: Path) -> bool:
    """True if the blocks of a page are run."""
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
    """Pairs (reason, match): blocks that would silently not be run."""
    outside = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    yield from (("blocks start at the margin, with ```, here.", match) for match in _OTHER_FENCE.finditer(outside))
    for match in _FENCE.finditer(text):
        if match[2] in ("bash", "shell", "console", "py", "pycon"):
            yield f"blocks here are sh, python or text, not {match[2]}.", match


def differs(printed: str, expected: str, tolerance: float | None) -> str:
    """The difference between an output and the one shown; empty if they agree."""
    got, shown = ("\n".join(line.rstrip() for line in text.strip("\n").splitlines()) for text in (printed, expected))
    pattern = "".join(
        r"[\s\S]*?" if part == "..." else _pattern(part, tolerance) for part in re.split(r"(\.\.\.)", shown)
    )
    match = re.fullmatch(pattern, got)
    if match is None:
        return f"it printed\n{got}\nand not\n{shown}"
    if tolerance is None:
        return ""
    pairs = zip(_NUMBER.findall(shown), match.groups(), strict=True)
    far = [f"{value} and not {target}" for target, value in pairs if not _close(target, value, tolerance)]
    return f"numbers are further than {tolerance:.0%} from those shown: {', '.join(far)}" if far else ""


def _pattern(text: str, tolerance: float | None) -> str:
    if tolerance is None:
        return re.escape(text)
    # Widths depend on the numbers, so blanks and the lines of tables may be longer or shorter.
    parts = re.split(f"({_NUMBER.pattern}|[ ─]+)", text)
    return "".join(
        f"({_NUMBER.pattern})"
        if _NUMBER.fullmatch(part)
        else "[ ─]+"
        if part.strip(" ─") == "" and part
        else re.escape(part)
        for part in parts
    )


def _close(target: str, value: str, tolerance: float) -> bool:
    x, y = (float(number.replace(",", "")) for number in (target, value))
    return x == y or abs(x - y) <= tolerance * max(abs(x), abs(y))


def run_pages(root: Path, paths: Sequence[Path], *, jobs: int = 2) -> list[str]:
    """Run the blocks of pages; return the problems, one line each. The seconds per page are printed on stderr.

    Args:
        root: The checkout.
        paths: The pages, including those that others continue.
        jobs: Pages to run in parallel. Pages that continue one another run in sequence.
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
        results = pool.map(lambda chain: _run_chain(chain, pages, root, environment), longest)
        return problems + [line for lines in results for line in lines]


def _run_chain(chain: Sequence[Path], pages: dict[Path, Page], root: Path, environment: dict[str, str]) -> list[str]:
    """Run a page, then others in the folder as it left it; if the first one fails, the others are not run."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="headclust-docs-") as place:
        folder, start = Path(place, "folder"), Path(place, "start")
        folder.mkdir()
        for path in chain:
            if start.exists():  # what another page has changed there does not matter
                shutil.rmtree(folder)
                shutil.copytree(start, folder, symlinks=True)
            if problems and path is not chain[0] and problems[0].startswith(f"{_name(chain[0], root)}:"):
                problems.append(f"{_name(path, root)}: not run, because the page it continues has failed.")
                continue
            began = time.monotonic()
            problems += [f"{_name(path, root)}: {line}" for line in _run_page(pages[path], folder, root, environment)]
            if path is chain[0] and len(chain) > 1:
                shutil.copytree(folder, start, symlinks=True)
            print(f"{_name(path, root)}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return problems


def _run_page(page: Page, folder: Path, root: Path, environment: dict[str, str]) -> Iterator[str]:
    for step in page.steps:
        code, printed = run_step(step, folder, {**environment, "ROOT": str(root)})
        if code != 0:
            yield f"line {step.line}: this block ended with exit code {code}:\n{printed}"
            return  # the next steps need this one
        if step.printed is not None and (why := differs(printed, step.printed, step.tolerance)):
            yield f"line {step.line}: this block's output is not what the page shows: {why}"


def run_step(step: Step, folder: Path, environment: dict[str, str], *, timeout: float = TIMEOUT) -> tuple[int, str]:
    """Run a block; return its exit code and output. After `timeout` seconds it is killed, with exit code 124."""
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
    """The environment of blocks: `headclust` and Python from a process with its imports done; no network."""
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
