"""Methods side by side on feature files, over seeds: the figures in docs/benchmarks.md.

Command:  headclust embed --model efficientnet_lite0 --data cifar10:PATH --limit 20000 --image-size 128 -o cifar10.h5
          python benchmarks/methods.py cifar10.h5 --methods temi,kmeans --seeds 3 -o results
Setting:  every method's preset (`--preset`), through the same verb a user calls; a run that is there already is not
          made again, so a killed benchmark goes on where it was. `--eval` scores on other features of the same kind.
Figure:   mean and standard deviation over seeds of ACC, NMI, ARI of the head chosen by training loss, and seconds.
          Labels score; they choose nothing.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from headclust import verbs


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="+")
    parser.add_argument("--eval", type=Path, action="append", default=[], help="test features, one a training file")
    parser.add_argument("--methods", default="temi,kmeans")
    parser.add_argument("--preset", default="ours")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print a line of JSON a row")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    tests = options.eval or [None] * len(options.features)
    for features, test in zip(options.features, tests, strict=True):
        for method in options.methods.split(","):
            runs = [one_run(options, features, test, method, seed) for seed in range(options.seeds)]
            row = {"features": features.stem, "method": method, "preset": options.preset, "seeds": options.seeds}
            row |= summary("", runs)
            if test:
                row |= summary("test_", [run["eval"] for run in runs])
            print(
                json.dumps(row) if options.json else "  ".join(f"{name}={value}" for name, value in row.items()),
                flush=True,
            )


def one_run(options: argparse.Namespace, features: Path, test: Path | None, method: str, seed: int) -> dict:
    """The metrics of one fit, made now or before."""
    output = options.output / f"{features.stem}-{method}-{options.preset}-s{seed}"
    if not output.exists():
        evaluate_on = [test] if test else []
        verbs.fit([features], method=method, preset=options.preset, seed=seed, evaluate_on=evaluate_on, output=output)
    return json.loads((output / "metrics.json").read_text(encoding="utf-8"))


def summary(prefix: str, runs: list[dict]) -> dict[str, str]:
    """Mean and standard deviation of each score over runs: ACC, NMI, ARI in percent."""
    shown = {}
    for name, scale in (("accuracy", 100), ("nmi", 100), ("ari", 100), ("seconds", 1)):
        values = [run[name] * scale for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        shown[prefix + name] = f"{statistics.mean(values):.1f}±{spread:.1f}"
    return shown


if __name__ == "__main__":
    main()
