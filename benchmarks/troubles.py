"""Claim: for any folder, `headclust embed --on-error skip` writes a row for every readable image.

The script writes a folder of 1,000 entries: plain photos, and 5 of each kind of trouble of `trouble_files.py`. It then
embeds the folder with `--on-error skip`, and compares the result of every entry with that expected of its kind: a row
(if only the storage format of the pixels differs, the same row as a plain PNG of them), a place in the list of skipped
files with the right reason, or no mention, if the entry is not named as an image or is not a file. It prints one entry
per kind with its result.

command:   python benchmarks/troubles.py
machine:   2 CPU cores, no accelerator
n:         1,000 entries, 5 of each kind of trouble
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from script import answer
from trouble_files import IGNORED, KINDS, ROW, SIDE, TWIN, Entry, fill

from headclust.errors import HeadclustError
from headclust.features import Features, load_features

_MANY_LEFT_OUT = 3  # exit code of an embedding that left out more than a tenth of the images


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the folder, embed it, compare; return the exit code: 1 if a result is not the expected one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=1000, help="least number of entries")
    parser.add_argument("--each", type=int, default=5, help="entries of each kind of trouble")
    parser.add_argument("--model", default="efficientnet_lite0")
    return answer("troubles", parser, run, arguments, entries=0, each=1)


def run(arguments: argparse.Namespace) -> int:
    """Write the folder, embed it, compare; return the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, output = Path(scratch, "photos"), Path(scratch, "photos.h5")
        entries = fill(folder, arguments.entries, arguments.each)
        command = [sys.executable, "-m", "headclust", "embed", "--model", arguments.model, "--data", str(folder)]
        options = ["--on-error", "skip", "--image-size", str(SIDE), "--offline", "-o", str(output)]
        start = time.perf_counter()
        finished = subprocess.run([*command, *options], stdout=subprocess.DEVNULL)
        if finished.returncode not in (0, _MANY_LEFT_OUT):
            raise HeadclustError(f"headclust embed ended with exit code {finished.returncode}: see above.")
        seconds = time.perf_counter() - start
        features = load_features(output)
        wrong = differences(features, entries)
        print(f"{len(entries)} entries, {len(KINDS)} kinds of trouble among them, embedded in {seconds:.1f} s:")
        print(f"{features.n_samples} rows, {len(features.skipped)} skipped, {len(wrong)} not as expected.\n")
        print(table(features, entries))
        print("\n".join(["", *wrong]))
        return 1 if wrong else 0


def differences(features: Features, entries: dict[str, Entry]) -> list[str]:
    """Entries whose result is not the expected one, one line per entry."""
    rows = {sample_id: row for row, sample_id in enumerate(features.sample_ids)}
    reasons, values, wrong = dict(features.skipped), features.all().numpy(), []
    for name, entry in entries.items():
        result = ROW if name in rows else reasons.get(name, IGNORED)
        if entry.twin and result == ROW and np.array_equal(values[rows[name]], values[rows[entry.twin]]):
            result = TWIN
        if result != entry.expected and (result in (ROW, TWIN, IGNORED) or entry.expected not in result.lower()):
            wrong.append(f"{name!r} ({entry.kind}): expected {entry.expected!r}, found {result!r}")
    return wrong + [f"{name!r} is listed, but was not written" for name in {*rows, *reasons} - entries.keys()]


def table(features: Features, entries: dict[str, Entry]) -> str:
    """One entry per kind and its result, as a Markdown table."""
    reasons, lines, kinds = dict(features.skipped), ["| kind | file | result |", "|---|---|---|"], set()
    for name, entry in entries.items():
        if entry.kind not in kinds:
            kinds.add(entry.kind)
            shown = ascii(name)[1:-1]
            result = f"skipped: {reasons[name]}" if name in reasons else entry.expected
            lines.append(f"| {entry.kind} | `{shown if len(shown) < 60 else shown[:57] + '...'}` | {result} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
