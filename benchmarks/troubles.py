"""Claim: whatever lies in a folder, `headclust embed --on-error skip` gives every readable image its row.

Makes a folder of 1,000 entries: plain photos, and 5 of each kind of trouble of `trouble_files.py`. Embeds it with
`--on-error skip`, and holds the outcome of every entry against what is expected of its kind: a row (where only the way
the pixels are stored differs, exactly the row of a plain PNG of them), a place among the skipped files with the right
reason, or no mention, because it is no image by name or no file. Prints one entry of each kind and what became of it.

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
from pathlib import Path

import numpy as np
from trouble_files import IGNORED, KINDS, ROW, SIDE, TWIN, Entry, fill

from headclust.features import Features, load_features


def main() -> None:
    """Makes the folder, embeds it, compares; exit code 1 where something else was expected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=1000)
    parser.add_argument("--each", type=int, default=5, help="entries of each kind of trouble")
    parser.add_argument("--model", default="efficientnet_lite0")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, output = Path(scratch, "photos"), Path(scratch, "photos.h5")
        entries = fill(folder, arguments.entries, arguments.each)
        command = [sys.executable, "-m", "headclust.cli", "embed", "--model", arguments.model, "--data", str(folder)]
        options = ["--on-error", "skip", "--image-size", str(SIDE), "--offline", "-o", str(output)]
        start = time.perf_counter()
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        features = load_features(output)
        wrong = differences(features, entries)
        print(f"{len(entries)} entries, {len(KINDS)} kinds of trouble among them, embedded in {seconds:.1f} s:")
        print(f"{features.n_samples} rows, {len(features.skipped)} skipped, {len(wrong)} not as expected.\n")
        print(table(features, entries))
        print("\n".join(["", *wrong]))
        sys.exit(1 if wrong else 0)


def differences(features: Features, entries: dict[str, Entry]) -> list[str]:
    """Entries whose outcome is not the expected one, a line each."""
    rows = {sample_id: row for row, sample_id in enumerate(features.sample_ids)}
    reasons, values, wrong = dict(features.skipped), features.all().numpy(), []
    for name, entry in entries.items():
        found = ROW if name in rows else reasons.get(name, IGNORED)
        if entry.twin and found == ROW and np.array_equal(values[rows[name]], values[rows[entry.twin]]):
            found = TWIN
        if found != entry.expected and (found in (ROW, TWIN, IGNORED) or entry.expected not in found.lower()):
            wrong.append(f"{name!r} ({entry.kind}): wanted {entry.expected!r}, found {found!r}")
    return wrong + [f"{name!r} was listed, and nobody made it" for name in {*rows, *reasons} - entries.keys()]


def table(features: Features, entries: dict[str, Entry]) -> str:
    """One entry of each kind and what became of it, as a Markdown table."""
    reasons, lines, told = dict(features.skipped), ["| kind | file | outcome |", "|---|---|---|"], set()
    for name, entry in entries.items():
        if entry.kind not in told:
            told.add(entry.kind)
            shown = ascii(name)[1:-1]
            outcome = f"skipped: {reasons[name]}" if name in reasons else entry.expected
            lines.append(f"| {entry.kind} | `{shown if len(shown) < 60 else shown[:57] + '...'}` | {outcome} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
