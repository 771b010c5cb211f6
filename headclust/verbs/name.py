"""The verb `name`: words for the groups of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

from headclust import runs
from headclust.backbones import check_weights
from headclust.choices import NameSource
from headclust.device import resolve_device
from headclust.disk import write_atomically, write_errors
from headclust.errors import ConflictError, DataError
from headclust.progress import note, printable
from headclust.runs.added import with_added
from headclust.runs.fixes import FIXES, read_fixes, resolve_fixes
from headclust.runs.groups import read_groups
from headclust.runs.inputs import locate_features
from headclust.runs.levels import read_levels
from headclust.runs.names import Name, Names, is_name, write_names
from headclust.textfiles import read_names, row_writer

_HEADER = ("cluster", "name")


@dataclass(frozen=True)
class NamedGroup:
    """A group and its name.

    Attributes:
        group: Its id.
        images: Number of its images.
        name: Its name: that of a person in fixes.csv, else the proposed one; None if no word is good enough.
        score: Share of the group that the proposed name covers, 0 to 1; None without one, or if a person gave the name.
        alternatives: Further words, the better first.
    """

    group: int
    images: int
    name: str | None
    score: float | None
    alternatives: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """The names of a run: the `path` of names.json, their `source`, the `groups`, and the table written, or None."""

    path: Path
    source: str
    groups: tuple[NamedGroup, ...]
    table: Path | None = None


def name(
    run: Path,
    *,
    source: NameSource | None = None,
    model: str | None = None,
    weights: Path | None = None,
    vocabulary: Path | None = None,
    features: Path | None = None,
    level: int | None = None,
    device: str | None = None,
    offline: bool = False,
    output: Path | None = None,
    overwrite: bool = False,
) -> Named:
    """Propose a name for each group of a run and for each join of its levels, and write them into its names.json.

    Names never change a group. Each is chosen against the other groups, no two groups of a level have the same, and a
    group that no word describes well has none.

    Args:
        run: A run folder.
        source: "classifier" (of a packaged backbone), "text" (of an image-text model) or "words" (in the paths of the
            images). When None, "text" if `model` has a text tower, otherwise "classifier", or "words" if neither the
            features nor the images of the run can be read.
        model: The packaged backbone whose classifier is used, or an image-text model of open_clip. When None, that of
            the features; if these have no classifier, efficientnet_lite0.
        weights: The file with the weights of an image-text model.
        vocabulary: A file of the only words to use, one per line.
        features: The feature file of the run, if it was moved.
        level: The number of groups to list and write; names of all levels are stored in any case.
        device: Where to embed; the best available when None.
        offline: Never download weights.
        output: A CSV file cluster,name to write, for `export --names`.
        overwrite: Replace the file at `output`.

    Raises:
        HeadclustError: The run, the model, the vocabulary or the output cannot be used.
    """
    from headclust.naming.choice import Chooser
    from headclust.naming.sources import Request, find_evidence
    from headclust.naming.typical import Members

    fitted = runs.read_record(run)
    words = None if vocabulary is None else _read_words(vocabulary)
    if weights is not None:
        check_weights(weights)
    if device is not None:
        resolve_device(device)
    if output is not None:
        _check_output(output, overwrite=overwrite)
    recorded = locate_features(fitted.path, fitted.config["features"])
    if features is not None:
        recorded = [{**record, "path": str(features)} for record in recorded]
    assigned, fixes = with_added(fitted, runs.read_assigned(fitted)), fitted.path / FIXES
    fixed = resolve_fixes(assigned, read_fixes(fixes) if fixes.exists() else (), fitted.n_clusters)
    ids = np.unique(fixed.clusters).tolist()
    levels = read_levels(fitted)
    if level is not None:
        levels.count(level, ids)  # raises before anything is embedded
    members = Members(assigned.sample_ids, fixed.clusters, assigned.confidence, ids)
    evidence = find_evidence(Request(source, model, weights, words, device, offline), members, recorded)
    chooser = Chooser(evidence, members.sizes, tuple(fixed.names.values()))
    chosen = chooser.name_groups()
    joins = chooser.name_joins(chosen, ids, [(join.kept, join.joined) for join in levels.joins])
    names = Names(evidence.source, dict(zip(ids, chosen, strict=True)), joins)
    path = write_names(fitted.path, names)
    listed = _listed(fitted, names, level)
    if output is not None:
        _write_table(output, listed)
    n_named = sum(group.name is not None for group in listed)
    note(f"names by the {evidence.source}: {n_named} of {len(listed)} groups have one.")
    return Named(path, evidence.source, listed, output)


def _read_words(path: Path) -> list[str]:
    """The words of a vocabulary, one per line.

    Raises:
        DataError: A line is blank, is no name, or is there twice; or there are none.
    """
    words = [word.strip() for word in read_names(path)]
    for number, word in enumerate(words, start=1):
        if not is_name(word):
            raise DataError(f"{printable(str(path))}, line {number}: {printable(word)[:50]!r} cannot be a name.")
    if len({word.casefold() for word in words}) < len(words):
        raise DataError(f"{printable(str(path))}: a word is there twice, in another case: expected every word once.")
    if not words:
        raise DataError(f"{printable(str(path))} is empty: expected one word per line.")
    return words


def _check_output(path: Path, *, overwrite: bool) -> None:
    """Raise if a table may not be written at `path`; called before anything is computed."""
    runs.check_not_of_run(path)
    if path.is_dir() or (path.exists() and not overwrite):
        step = "choose another place with -o" + ("" if path.is_dir() else ", or replace it with --overwrite")
        raise ConflictError(f"{printable(str(path))} exists: {step}.")


def _listed(fitted: runs.Record, names: Names, level: int | None) -> tuple[NamedGroup, ...]:
    """The groups at a level, as reports and exports show them, with the proposals for them."""
    groups, levels, ids = read_groups(fitted, level=level), read_levels(fitted), list(names.groups)
    joins = [] if level is None else levels.joins[: levels.count(level, ids)]
    group_of = levels.after(len(joins), ids)
    after = names.after([(join.kept, join.joined) for join in joins])
    proposals = {group_of.get(group, group): proposed for group, proposed in after.items()}
    sizes = dict(zip(*(values.tolist() for values in np.unique(groups.clusters, return_counts=True)), strict=True))
    listed = []
    for group in groups.ids:
        proposed, shown = proposals.get(group, Name(None)), groups.names.get(group)
        score = round(proposed.score, 4) if shown is not None and shown == proposed.name else None
        listed.append(NamedGroup(group, sizes[group], shown, score, proposed.alternatives))
    return tuple(listed)


def _write_table(path: Path, groups: Sequence[NamedGroup]) -> None:
    """Write the names as a table that `export --names` reads; groups without a name are left out."""
    text = StringIO(newline="")
    write = row_writer(text)
    write(_HEADER)
    for group in groups:
        if group.name is not None:
            write((group.group, group.name))
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.getvalue().encode())
