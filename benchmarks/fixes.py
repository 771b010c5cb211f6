"""Accuracy on images that nobody corrected, by the number of corrections that a fit keeps.

Command:  python benchmarks/fixes.py FEATURES.h5 --samples 5000 --seeds 5
          python benchmarks/fixes.py CIFAR-100.h5 --samples 5000 --classes 20 --seeds 5
Setting:  a fit of the default on a random part of the images, as many clusters as classes. A simulated person, who
          knows the classes, corrects its groups: `moves` puts wrong images, the least sure first, into the group of
          their class; `mixed` in turn also merges groups of one class, splits a group of two, confirms a group that is
          nearly pure, and marks pairs as together or apart; `review` answers the questions of `headclust review`, one
          after the other. Then the default is fitted again with these fixes, as
          `headclust fit --fixes` does it. Labels are the person's knowledge and the score; the fit sees the fixes
          alone.
Figure:   ACC (Hungarian) in percent on the images that no correction up to the last touches, the same for every number
          of corrections; mean over seeds, the gain over no correction, and the standard error of the gain, paired by
          seed. Beside it, two classifiers of the same labels on the same features, mean and standard deviation:
          logistic regression and the nearest class mean.
Expected: written before the first measurement. ACC rises with every step, by one point with 5 corrections and by five
          with 60 on CIFAR-10, more with `mixed`; the classifiers are far below the fit with 60 corrections (6 images
          per class), as they use no other image.
Tuned:    the variance and the covariance of the prior, the strength of a new group, and the order of the questions, on
          three seeds of CIFAR-10 and of the digits with efficientnet_lite0 (one draw with 8 groups of the digits, too).
          CIFAR-100 (20 classes) and CIFAR-10 with efficientnet_lite1 were measured once, afterwards.
Result:   see docs/how-to/correct.md. Tried and worse: evidence that spreads as a random walk in the neighbor graph (it
          reaches too few images), the identity or the full covariance between neighbors in place of its root (less gain
          on CIFAR-10, or a loss at 20 corrections of the digits), and holding all other images to what the run says of
          them (half of the gain). Smoothing images over their neighbors gains 0.6 more on the digits, and 0.2 less on
          CIFAR-10, but is no linear head.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from script import answer
from tiny import overlapping_file

from headclust.features import Features, load_features
from headclust.features.rows import unit_length
from headclust.methods import Recipe
from headclust.model import ClusterModel
from headclust.progress import quiet
from headclust.review.questions import Doubts, Questions, find_doubts
from headclust.runs import Record
from headclust.runs.assignments import Assignments
from headclust.runs.earlier import Earlier, constraints_of
from headclust.runs.fixes import Fix, Resolved, apply_fixes, resolve_fixes
from headclust.scoring.metrics import accuracy

KINDS = {
    "moves": ("move",),
    "mixed": ("move", "merge", "together", "move", "split", "apart", "move", "right", "move"),
}
REVIEW = "review"
PURE = 0.95  # share of one class in a group that the person confirms
TWO = 0.3  # share of each of two classes in a group that the person splits


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    features = parser.add_argument("features", type=Path)
    parser.add_argument("--samples", type=int, default=5_000, help="images per seed, drawn at random")
    parser.add_argument("--classes", type=int, default=0, help="classes, drawn at random; 0: all")
    parser.add_argument("--corrections", default="1,5,20,60")
    parser.add_argument(
        "--person", choices=(*KINDS, REVIEW), action="append", help="several times for several; all by default"
    )
    parser.add_argument("--queue", choices=("unsure", "random"), default="unsure", help="order of the wrong images")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one line of JSON per figure")
    return answer(
        "fixes", parser, run, arguments, made={features: overlapping_file}, samples=100, corrections="1,3", seeds=1
    )


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    counts = [int(count) for count in options.corrections.split(",")]
    whole = load_features(options.features)
    scores: dict[tuple[str, int], list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        space = draw(whole, options.samples, options.classes, seed)
        for person, rows in measure(space, options.person or [*KINDS, REVIEW], options.queue, counts, seed):
            for count, row in rows.items():
                scores.setdefault((person, count), []).append(row)
                if options.json:
                    print(json.dumps({"person": person, "corrections": count, "seed": seed, **row}), flush=True)
    if options.json:
        return
    print(f"{'person':8}{'corrections':>12}{'fit':>7}{'gain':>14}{'logistic':>14}{'class means':>14}")
    for (person, count), rows in scores.items():
        fits = 100 * np.array([row["fit"] for row in rows])
        gains = fits - 100 * np.array([row["fit"] for row in scores[person, 0]])
        error = gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        cells = [f"{gains.mean():.1f} ± {error:.1f}" if count else "-"]
        cells += [_shown([row[name] for row in rows if name in row]) for name in ("logistic", "means")]
        print(f"{person:8}{count:12}{fits.mean():7.1f}{''.join(f'{cell:>14}' for cell in cells)}")


def _shown(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}" if values else "-"


def draw(features: Features, n_samples: int, n_classes: int, seed: int) -> Features:
    """A random part of the images, of all classes or of some."""
    assert features.labels is not None
    generator = np.random.default_rng(seed)
    rows = np.arange(features.n_samples)
    if n_classes:
        classes = generator.choice(np.unique(features.labels), n_classes, replace=False)
        rows = rows[np.isin(features.labels, classes)]
    return features.select(np.sort(generator.permutation(rows)[:n_samples]))


def measure(
    space: Features, people: Sequence[str], queue: str, counts: Sequence[int], seed: int
) -> Iterator[tuple[str, dict[int, dict[str, float]]]]:
    """The scores of each person: by the number of corrections, of the fit and of both classifiers."""
    assert space.labels is not None
    labels, n_clusters = space.labels, len(np.unique(space.labels))
    unlabeled, recipe = replace(space, labels=None, class_names=()), Recipe.of()
    with quiet():
        base = recipe.changed({"n_clusters": n_clusters}).fit([unlabeled], seed)
    assigned = Assignments(space.sample_ids, base.assignments, base.confidence.astype(np.float64), None)
    for person in people:
        if person == REVIEW:
            fixes = Reviewer(assigned, labels, find_doubts(base.model, [unlabeled])).corrections(max(counts))
        else:
            fixes = Person(assigned, labels, KINDS[person], queue, seed).corrections(max(counts))
        untouched = np.flatnonzero(~touched(assigned, fixes, n_clusters))
        rows = {0: {"fit": accuracy(base.assignments[untouched], labels[untouched])}}
        for count in counts:
            clusters = refit(unlabeled, base.model, assigned, fixes[:count], seed)
            given = np.flatnonzero(touched(assigned, fixes[:count], n_clusters))
            rows[count] = {
                "fit": accuracy(clusters[untouched], labels[untouched]),
                **classifiers(space, given, untouched),
            }
        yield person, rows


def refit(
    space: Features, model: ClusterModel, assigned: Assignments, fixes: Sequence[Fix], seed: int
) -> NDArray[np.int64]:
    """Clusters by the default with fixes, as `headclust fit --fixes` makes them."""
    record = Record(Path("base"), {}, {"n_samples": space.n_samples, "n_clusters": model.n_clusters})
    resolved = resolve_fixes(assigned, fixes, model.n_clusters)
    earlier = Earlier(record, assigned, resolved, tuple(fixes), None, True)
    constraints, _ = constraints_of(earlier, space.sample_ids, model)
    with quiet():
        recipe = Recipe.of().changed({"n_clusters": constraints.n_groups})
        return recipe.fit([space], seed, constraints=constraints).assignments


def touched(assigned: Assignments, fixes: Sequence[Fix], n_clusters: int) -> NDArray[np.bool_]:
    """True for images that a correction names or confirms."""
    names = {fix.image for fix in fixes} | {fix.other for fix in fixes}
    named = np.array([name in names for name in assigned.sample_ids])
    return named | (resolve_fixes(assigned, fixes, n_clusters).pinned >= 0)


def classifiers(space: Features, given: NDArray[np.int64], others: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy of logistic regression and of the nearest class mean, which know the labels of the given images."""
    from sklearn.linear_model import LogisticRegression

    assert space.labels is not None
    rows, labels = unit_length(space.all()).numpy(), space.labels
    if not len(given):
        return {}
    if len(np.unique(labels[given])) < 2:  # everything is that class
        return dict.fromkeys(("logistic", "means"), float(np.mean(labels[others] == labels[given][0])))
    logistic = LogisticRegression(C=100, max_iter=1_000).fit(rows[given], labels[given])
    classes = np.unique(labels[given])
    means = np.stack([rows[given][labels[given] == label].mean(0) for label in classes])
    # The nearest mean x -> argmin |x - m|^2 = argmin |m|^2 / 2 - <x, m>.
    nearest = ((means**2).sum(1) / 2 - rows[others] @ means.T).argmin(1)
    return {
        "logistic": float((logistic.predict(rows[others]) == labels[others]).mean()),
        "means": float((classes[nearest] == labels[others]).mean()),
    }


class Person:
    """Corrects the groups of a run, knowing the classes.

    Args:
        assigned: The run.
        labels: Class of each image.
        kinds: Kinds of corrections, in turn; one without an occasion is a move.
        queue: Order of the wrong images: "unsure" or "random".
        seed: Of the random order.
    """

    def __init__(
        self, assigned: Assignments, labels: NDArray[np.int64], kinds: Sequence[str], queue: str, seed: int
    ) -> None:
        self.assigned, self.kinds = assigned, kinds
        self.labels = np.unique(labels, return_inverse=True)[1]
        order = np.random.default_rng(seed).permutation(len(labels))
        self.order = order if queue == "random" else np.argsort(assigned.confidence, kind="stable")
        self.fixes: list[Fix] = []
        self.n_ids = int(assigned.clusters.max()) + 1
        self.new: dict[int, int] = {}  # ids of groups that were made for classes without one
        self.seen: set[int] = set()  # images, and groups as -1 - id
        self.split: set[int] = set()

    def corrections(self, count: int) -> list[Fix]:
        """The first `count` corrections; fewer if nothing is wrong any more."""
        kinds = cycle(self.kinds)
        while len(self.fixes) < count:
            # Images per group and class, (n_ids, n_classes).
            clusters = apply_fixes(self.assigned, self.fixes)
            table = np.zeros((self.n_ids + 1, self.labels.max() + 1), np.int64)
            np.add.at(table, (clusters, self.labels), 1)
            kind = next(kinds)
            fix = {"merge": self._merge, "split": self._split, "right": self._right}.get(kind, lambda _: None)(table)
            fix = None if fix and fix.fix == "right" and fix.group in self._divided(clusters) else fix
            fix = fix or self._of_image(kind if kind in ("together", "apart") else "move", clusters, table)
            if fix is None:
                break
            self.fixes.append(fix)
        return self.fixes

    def _merge(self, table: NDArray[np.int64]) -> Fix | None:
        """Two groups that are mostly one class: the smaller goes into the larger."""
        classes, shares = table.argmax(1), table.max(1) / table.sum(1).clip(1)
        groups = [group for group in np.argsort(-table.max(1)).tolist() if shares[group] >= 0.5]
        for position, group in enumerate(groups):
            for other in groups[:position]:
                if classes[group] == classes[other] and not {group, other} & self.split and -1 - group not in self.seen:
                    return Fix("merge", group=group, other=other)
        return None

    def _split(self, table: NDArray[np.int64]) -> Fix | None:
        """A group of two classes, one of which has no group of its own."""
        for group in np.argsort(-np.sort(table, 1)[:, -2]).tolist():
            second = int(np.argsort(-table[group])[1])
            is_two = np.sort(table[group])[-2] >= TWO * max(1, table[group].sum())
            if is_two and self._group_of(second, table) is None and group not in self.split:
                self.split.add(group)
                return Fix("split", group=group)
        return None

    def _right(self, table: NDArray[np.int64]) -> Fix | None:
        """A group that is nearly pure."""
        for group in range(len(table)):
            if table[group].max() >= PURE * max(1, table[group].sum()) and -1 - group not in self.seen | self.split:
                self.seen.add(-1 - group)
                return Fix("right", group=group)
        return None

    def _divided(self, clusters: NDArray[np.int64]) -> set[int]:
        """Groups that hold both images of a pair apart, which the person does not confirm."""
        group_of = dict(zip(self.assigned.sample_ids, clusters.tolist(), strict=True))
        pairs = [(group_of[str(fix.image)], group_of[str(fix.other)]) for fix in self.fixes if fix.fix == "apart"]
        return {first for first, second in pairs if first == second}

    def _group_of(self, label: int, table: NDArray[np.int64]) -> int | None:
        """The group of a class: the largest in which it is the most frequent one; or one that was made for it."""
        groups = np.flatnonzero((table.argmax(1) == label) & (table.max(1) > 0))
        return int(groups[table[groups, label].argmax()]) if len(groups) else self.new.get(label)

    def _of_image(self, kind: str, clusters: NDArray[np.int64], table: NDArray[np.int64]) -> Fix | None:
        """The next wrong image: into its group, or together with, or apart from, the surest image of a group."""
        for row in self.order.tolist():
            label, group = int(self.labels[row]), int(clusters[row])
            if table[group].argmax() == label or row in self.seen or -1 - group in self.seen:
                continue
            self.seen.add(row)
            image = self.assigned.sample_ids[row]
            if kind != "move":
                others = (self.labels == label) & (clusters != group) if kind == "together" else clusters == group
                others &= (self.labels == label) == (kind == "together")
                others &= ~np.isin(np.arange(len(others)), list(self.seen))
                if others.any():
                    best = int(np.where(others, self.assigned.confidence, -1).argmax())
                    self.seen.add(best)
                    return Fix(kind, image=image, other=self.assigned.sample_ids[best])
            home = self._group_of(label, table)
            if home is None:
                home = self.new[label] = self.n_ids
                self.n_ids += 1
            return Fix("move", image=image, group=home)
        return None


class Reviewer:
    """Answers the questions of `headclust review` one after the other, knowing the classes.

    An image goes into the group of its class, which is often its own; a pair is together or apart.

    Args:
        assigned: The run.
        labels: Class of each image.
        doubts: Of the run's model.
    """

    def __init__(self, assigned: Assignments, labels: NDArray[np.int64], doubts: Doubts) -> None:
        self.assigned, self.fixes, self.n_clusters = assigned, list[Fix](), int(assigned.clusters.max()) + 1
        self.labels = np.unique(labels, return_inverse=True)[1]
        self.homes: dict[int, int] = {}  # group of each class that an answer was about
        self.right: set[int] = set()
        self.lock, self.asking = threading.RLock(), Questions(cast(Any, self), cast(Any, None))
        self.asking._doubts = doubts

    @property
    def resolved(self) -> Resolved:
        """The fixes so far, as `Session.resolved`."""
        return resolve_fixes(self.assigned, self.fixes, self.n_clusters)

    def groups(self) -> SimpleNamespace:
        """The groups now, as far as questions need them."""
        clusters = self.resolved.clusters
        return SimpleNamespace(clusters=clusters, ids=np.unique(clusters), confidence=self.assigned.confidence)

    def corrections(self, count: int) -> list[Fix]:
        """The answers to the first `count` questions."""
        ids = self.assigned.sample_ids
        while len(self.fixes) < count:
            n_images = sum(fix.fix == "move" for fix in self.fixes)
            # Two questions about images, then one about a pair, as on the page.
            questions = self.asking.pairs(1) if n_images >= 2 * (len(self.fixes) - n_images + 1) else []
            question = (questions or self.asking.images(1))[0]
            if "rows" in question:
                first, second = question["rows"]
                kind = "together" if self.labels[first] == self.labels[second] else "apart"
                self.fixes.append(Fix(kind, image=ids[first], other=ids[second]))
            else:
                row = question["row"]
                self.fixes.append(Fix("move", image=ids[row], group=self._home(int(self.labels[row]))))
        return self.fixes

    def _home(self, label: int) -> int:
        """The group of a class: the largest in which it is the most frequent one, else a new one."""
        if label not in self.homes:
            clusters, taken = self.resolved.clusters, set(self.homes.values())
            table = np.zeros((clusters.max() + 1, self.labels.max() + 1), np.int64)
            np.add.at(table, (clusters, self.labels), 1)
            groups = [g for g in range(len(table)) if g not in taken and table[g].max() == table[g, label] > 0]
            new = max(self.n_clusters, *(group + 1 for group in taken)) if taken else self.n_clusters
            self.homes[label] = max(groups, key=lambda group: table[group, label]) if groups else new
        return self.homes[label]


if __name__ == "__main__":
    sys.exit(main())
