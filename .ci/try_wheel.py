"""Try an installed headclust as a user would: embed the bundled digits, fit, report, predict, export.

The versions that are installed are compared with the oldest that pyproject.toml allows.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import headclust
from headclust import load_features, verbs, write_features
from headclust.errors import HeadclustError

EXTRAS = ("offline", "parquet", "graph", "maps", "huggingface")


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
    quick = {"tries": 2, "temi.length": 30}
    for method, changes in (("consensus", quick), ("kmeans", {}), ("spectral", {}), ("leiden", {})):
        run = verbs.fit([few], method=method, clusters=10, heads=3 if changes else None, changes=changes)
        print(method, run)
    print(verbs.report(run))
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
    """Raise if a package is older than its floor; name those that another package holds above it."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(text for name in EXTRAS for text in project["optional-dependencies"][name])]
    above = []
    for text in wanted:
        name, floor = re.fullmatch(r"([\w.-]+)>=([0-9.]+)", text).groups()
        installed = version(name)
        oldest = [int(part) for part in floor.split(".")]
        numbers = [int(part) for part in re.match(r"[0-9.]+[0-9]|[0-9]", installed)[0].split(".")]
        assert numbers >= oldest, f"{name} {installed} is older than its floor {floor}"
        if numbers[: len(oldest)] != oldest:
            above.append(f"{name} {installed} for {floor}")
    print(f"{len(wanted) - len(above)} of {len(wanted)} requirements are at their floors", *above, sep="; ")


if __name__ == "__main__":
    main()
