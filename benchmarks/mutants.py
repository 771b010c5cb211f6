"""Deliberate defects in the package, one at a time, and which of them the tests notice.

Command:  python benchmarks/mutants.py
Setting:  the defects of mutant_list.py, each alone in a copy of the checkout; pytest on the tests that the list names
          for the file, which have to pass without a defect first; one thread, at most --seconds per defect.
Figure:   `killed`, the share of the defects that make a test fail. One that lives is a gap in the tests, unless it is
          equivalent.
Expected: all.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mutant_list import MUTANTS, Mutant
from script import answer, names

from headclust.errors import DataError, unknown

_CHECKOUT = Path(__file__).resolve().parent.parent
_COPIED = ("headclust", "tests", "pyproject.toml")
_PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "-n0")
_PASSED, _FAILED = 0, 1  # exit codes of pytest; all others are errors of the run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests on every defect and print the result; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the JSON object in one line")
    parser.add_argument("--only", type=names, default=(), help="names of defects, separated by commas")
    parser.add_argument("--seconds", type=float, default=300.0, help="time limit of the tests of each defect")
    parser.add_argument("--results", type=Path, help="JSON lines, one per defect; those that it has are not run again")
    return answer("mutants", parser, run, arguments, only=("null-without-factor",))


def run(options: argparse.Namespace) -> int:
    """Run the chosen defects and print what the tests noticed; 1 if the list no longer fits the code."""
    chosen = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only]
    for name in options.only:
        if name not in {mutant.name for mutant in chosen}:
            raise unknown("defect", name, [mutant.name for mutant in MUTANTS])
    earlier, results = _read(options.results), dict[str, str]()
    with tempfile.TemporaryDirectory(prefix="headclust-mutants-") as folder:
        copy = Path(folder)
        _copy(_CHECKOUT, copy)
        if problems := misfits(copy, chosen):
            print("\n".join(problems))
            return 1
        keys = {mutant: _key(copy, mutant) for mutant in chosen}
        if todo := [mutant for mutant in chosen if keys[mutant] not in earlier]:
            check_tests(copy, {test for mutant in todo for test in mutant.tests})
        for mutant, key in keys.items():
            if key not in earlier:
                earlier[key] = verdict(copy, mutant, options.seconds)
                if options.results:
                    with options.results.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps({"key": key, "name": mutant.name, "result": earlier[key]}) + "\n")
            results[mutant.name] = earlier[key]
            if not options.json:
                print(f"{results[mutant.name]:9} {mutant.name}", flush=True)
    print(json.dumps(summary(results), indent=None if options.json else 2))
    return 0


def misfits(checkout: Path, mutants: Iterable[Mutant]) -> list[str]:
    """A line per defect whose text is not in its file exactly once, or whose tests do not exist."""
    problems = []
    for mutant in mutants:
        count = (checkout / "headclust" / mutant.file).read_text(encoding="utf-8").count(mutant.before)
        if count != 1:
            problems.append(f"{mutant.name}: its text is {count} times in headclust/{mutant.file}: expected once.")
        problems += [f"{mutant.name}: no {test}" for test in files_of(mutant) if not (checkout / test).is_file()]
    return problems


def files_of(mutant: Mutant) -> list[str]:
    """The files of its tests."""
    return sorted({test.partition("::")[0] for test in mutant.tests})


def verdict(copy: Path, mutant: Mutant, seconds: float) -> str:
    """Put the defect into a copy of the checkout, run its tests and take it out: killed, lived or timed out.

    Raises:
        DataError: The tests could not be run.
    """
    file = copy / "headclust" / mutant.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        done = _pytest(copy, mutant.tests, seconds)
    except subprocess.TimeoutExpired:
        return "timed out"
    finally:
        file.write_text(text, encoding="utf-8")
    if done.returncode not in (_PASSED, _FAILED):
        raise DataError(f"{mutant.name}: its tests do not run: {_last_line(done)}")
    return "killed" if done.returncode == _FAILED else "lived"


def summary(results: Mapping[str, str]) -> dict[str, object]:
    """Share of the defects that were killed, their number, and the names of those that were not."""
    counts = Counter(results.values())
    return {
        "killed": round(counts["killed"] / len(results), 3),
        "defects": len(results),
        "lived": sorted(name for name, result in results.items() if result == "lived"),
        "timed_out": sorted(name for name, result in results.items() if result == "timed out"),
    }


def _copy(checkout: Path, copy: Path) -> None:
    """Copy what the tests need."""
    for name in _COPIED:
        if (checkout / name).is_dir():
            shutil.copytree(checkout / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy2(checkout / name, copy / name)


def check_tests(copy: Path, tests: Iterable[str]) -> None:
    """Raise unless the package of the copy is imported there, and the tests pass.

    Raises:
        DataError: One of both is not so.
    """
    where = [sys.executable, "-c", "import headclust; print(headclust.__file__)"]
    imported = subprocess.run(where, cwd=copy, env=_environment(copy), capture_output=True, text=True, check=True)
    if copy.resolve() not in Path(imported.stdout.strip()).resolve().parents:
        raise DataError(f"{imported.stdout.strip()} is imported: expected the copy in {copy}.")
    done = _pytest(copy, sorted(tests), None)
    if done.returncode != _PASSED:
        raise DataError(f"the tests fail without a defect: {_last_line(done)}")


def _pytest(copy: Path, tests: Iterable[str], seconds: float | None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *_PYTEST, *tests]
    return subprocess.run(
        command, cwd=copy, env=_environment(copy), capture_output=True, text=True, timeout=seconds, check=False
    )


def _environment(copy: Path) -> dict[str, str]:
    # No compiled files: one of the code without a defect would be used for a defect of the same length and second.
    own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | own


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line of the first failed test, or the last line of the output."""
    lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
    return next((line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1])


def _read(results: Path | None) -> dict[str, str]:
    """Earlier results by key."""
    if results is None or not results.exists():
        return {}
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {line["key"]: line["result"] for line in lines}


def _key(copy: Path, mutant: Mutant) -> str:
    """A digest of the defect, its file and its tests: a result counts as long as none of them changes."""
    digest = hashlib.sha256(repr(mutant).encode())
    for path in (f"headclust/{mutant.file}", *files_of(mutant)):
        digest.update((copy / path).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
