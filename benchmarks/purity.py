"""The share of a sample's nearest neighbors with the same label, by the number of neighbors.

Command:  python benchmarks/purity.py FEATURES.h5 ... --json
Setting:  exact cosine neighbors of labeled features. Labels are used for this measurement, never by a fit.
Figure:   mean share of neighbors with the sample's label, in percent, for the first 5, 10, 25, 50.
Expected: lower with more neighbors.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from script import answer
from tiny import feature_file

from headclust.features import load_features
from headclust.scoring.probes import neighbor_purity


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    features = parser.add_argument("features", type=Path, nargs="+")
    parser.add_argument("--neighbors", default="5,10,25,50")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per file")
    return answer("purity", parser, run, arguments, made={features: feature_file})


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    for path in options.features:
        features = load_features(path)
        row = {
            int(k): round(100 * neighbor_purity(features, n_neighbors=int(k)), 1) for k in options.neighbors.split(",")
        }
        print(json.dumps({"features": path.stem, "purity": row}) if options.json else f"{path.stem}  {row}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
