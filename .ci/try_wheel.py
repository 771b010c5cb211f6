"""Try an installed headclust as a user would: embed the bundled digits, fit, report, predict, export.

The installed versions have to be the oldest that pyproject.toml allows.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from floors import floors

import headclust
from headclust import load_features, verbs, write_features
from headclust.errors import HeadclustError


def main() -> None:
    """Raise if a step fails; print what was done."""
    assert Path(headclust.__file__).is_relative_to(sys.prefix), f"not the installed package: {headclust.__file__}"
    check_floors()
    digits = verbs.embed("efficientnet_lite0", "digits", split="test", output=Path("digits.h5"))
    features = load_features(digits)
    assert (features.n_samples, features.feature_dim) == (360, 1280)
    # A part of the digits, so that the default takes seconds.
    few = write_features(
        "few.h5",
        features.all().numpy()[:120],
        sample_ids=features.sample_ids[:120],
        labels=features.labels[:120],
        dataset="digits",
        backbone="efficientnet_lite0",
    )
    quick = {"tries": 2, "pairs.length": 30}
    for method, changes in (("consensus", quick), ("kmeans", {}), ("spectral", {}), ("leiden", {})):
        run = verbs.fit([few], method=method, clusters=10, heads=3 if changes else None, changes=changes)
        print(method, run)
    print(verbs.report(run, umap=False))
    print(verbs.predict(run, features=[few]))
    for kind in ("csv", "parquet", "coco"):
        print(verbs.export(run, to=kind))
    try:
        verbs.fit([few], method="no-such-method")
    except HeadclustError as error:
        print(f"refused, as it should be: {error}")
    else:
        raise AssertionError("an unknown method was not refused")


def check_floors() -> None:
    """Raise if a package is not at its floor, so that nothing has tried the floor."""
    oldest = floors(Path("pyproject.toml"))
    others = [f"{name} {version(name)}" for name, floor in oldest.items() if not is_at(version(name), floor)]
    assert not others, f"not at their floors in pyproject.toml: {', '.join(others)}"
    print(f"{len(oldest)} requirements are at their floors")


def is_at(installed: str, floor: str) -> bool:
    """True if a version is the floor, or a later repair of it: 2.10.1+cpu for 2.10."""
    return f"{installed.partition('+')[0]}.".startswith(f"{floor}.")


if __name__ == "__main__":
    main()
