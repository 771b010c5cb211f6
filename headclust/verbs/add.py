"""The verb `add`: images that came after the fit of a run, in the groups of that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headclust import runs
from headclust.backbones import check_weights
from headclust.choices import OnError
from headclust.device import resolve_device
from headclust.embedding import EmbedSettings
from headclust.embedding.alike import backbone_like
from headclust.embedding.grow import Growth, added_images, compare, grow, readable_again
from headclust.errors import DataError, SettingError
from headclust.features import Features, is_folder, load_features
from headclust.filenames import storable_name
from headclust.images.datasets import ImageSet, open_source
from headclust.images.datasets.ignored import is_image_name
from headclust.images.datasets.joined import free_name, joined, named
from headclust.images.datasets.reopen import open_added, open_again
from headclust.progress import note, printable
from headclust.runs import novelty
from headclust.runs.added import ADDED, read_added
from headclust.runs.assignments import write_assignments
from headclust.runs.drift import Drift, measure_drift
from headclust.runs.inputs import locate_features, reload_spaces
from headclust.runs.scored_fit import assign
from headclust.verbs.left_out import listed_in, warn_if_many


@dataclass(frozen=True)
class Addition:
    """The result of `add`.

    Attributes:
        run: The run folder.
        table: The CSV file of all images that were added since the fit: sample_id,cluster,confidence,novelty.
        n_new: Images that were added now.
        n_added: Images that were added since the fit, these included.
        groups: Number of the new images by the group that they are in.
        labels: The name of each of these groups, as exports call it.
        unlike: Names of the new images that fit nowhere, the least like the fitted ones first.
        changed: Names of images that were edited since they were embedded; their groups are those of before.
        removed: Names of images that are no longer there; they stay in their groups.
        n_left_out: New images that cannot be read.
        drift: Difference of all added images from the fitted ones.
    """

    run: Path
    table: Path
    n_new: int
    n_added: int
    groups: dict[int, int]
    labels: dict[int, str]
    unlike: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    n_left_out: int
    drift: Drift


@dataclass(frozen=True, eq=False)
class _Listing:
    """The images that are listed: of the source and the added ones, or of one of them.

    Attributes:
        images: The images, under their names in the feature file.
        within: Start of the names of all images that were looked for; empty if all were.
        absent: Names of added sources that cannot be opened.
    """

    images: ImageSet
    within: str = ""
    absent: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """True if an image of this name would be listed."""
        return name.startswith(self.within) and not name.startswith(tuple(f"{source}/" for source in self.absent))


def add(
    run: Path,
    data: str | None = None,
    *,
    split: str | None = None,
    exclude: Sequence[str] = (),
    weights: Path | None = None,
    on_error: OnError = "skip",
    device: str | None = None,
    offline: bool = False,
) -> Addition:
    """Embed images that are new, and put them into the groups of a run, which stay as they are.

    The feature file of the run grows by the new rows, and `added.csv` in the run folder lists their clusters. Images
    are told apart by their paths; an image that is there already is not embedded again.

    Args:
        run: A run folder, or the folder of a `headclust run`.
        data: Source of the new images. When None, the source of the run and those that were added before, each as it is
            now.
        split: The split, if `data` has several.
        exclude: Patterns of files and folders of `data` to leave out, as for `open_source`.
        weights: The file with the model's weights, if the run's features were made with one.
        on_error: "skip" leaves out unreadable images and lists them, "fail" stops at the first.
        device: Where to embed and assign; the best available when None.
        offline: Never download weights.

    Raises:
        HeadclustError: The run, its features, the images or the weights cannot be used.
    """
    if data is None and (split is not None or exclude):
        raise SettingError("split and exclude are about NEW: name the folder of new images too, or leave them out.")
    fitted = runs.read_run(run)
    if device is not None:
        resolve_device(device)
    if weights is not None:
        check_weights(weights)
    recorded = locate_features(fitted.path, fitted.config["features"])
    reload_spaces(recorded)  # raises if the files are not those of the run
    bases = [_base(Path(space["path"])) for space in recorded]
    listing = _listing(bases[0], data, split, exclude, offline=offline)
    _, seen = fitted.model, runs.read_seen(fitted)  # damaged files are refused before anything is embedded
    settings = EmbedSettings(device=device, on_error=on_error)
    growths = [_growth(base, listing, replace(settings, on_error="skip")) for base in bases]
    _tell_differences(growths[0], listing)
    for space, growth in zip(recorded, growths, strict=True):
        if len(growth.take):
            assert growth.base.path is not None
            note(f"embedding {len(growth.take):,} new images with {space['backbone']}.")
            grow(growth, backbone_like(space, weights=weights, offline=offline), growth.base.path, settings)
    return _assigned(fitted, recorded, growths[0], seen, device)


def _growth(base: Features, listing: _Listing, settings: EmbedSettings) -> Growth:
    differences = compare(base, listing.images, listing.covers)
    return added_images(base, listing.images, readable_again(listing.images, differences, settings))


def _base(path: Path) -> Features:
    features = load_features(path)
    if is_folder(path):
        raise DataError(
            f"{printable(str(path))} is a folder of shards, which cannot grow: make one file of it with "
            "headclust embed --merge, or use headclust predict."
        )
    if not isinstance(features.attributes.get("source"), str) or not features.attributes.get("preprocessing"):
        raise SettingError(
            f"{printable(str(path))} was imported, and does not record how images become features: embed the new "
            "images in the same way, then use headclust predict --features."
        )
    return features


def _listing(base: Features, data: str | None, split: str | None, exclude: Sequence[str], *, offline: bool) -> _Listing:
    """The images to look at, under their names in the feature file.

    Raises:
        HeadclustError: A source cannot be opened.
    """
    recorded = base.attributes
    source, sources = str(recorded["source"]), [list(row) for row in recorded.get("added", ())]
    if data is None:
        first = open_again(source, recorded.get("split"), recorded)
        others, problems = open_added(recorded)
        for name, problem in problems.items():
            note(f"{printable(name)}: its images are not looked at: {problem}")
        return _Listing(_recorded(joined(first, others), base, sources, partly=bool(problems)), absent=tuple(problems))
    new = open_source(data, split, exclude=exclude, labels="folders", offline=offline)
    inside = _inside(new.source, source)
    if inside is not None:
        first = open_again(source, recorded.get("split"), recorded)
        rows = [row for row, name in enumerate(first.sample_ids) if name.startswith(inside)]
        part = first.take(np.array(rows, np.int64))
        return _Listing(_recorded(part, base, sources, partly=True), within=inside)
    if Path(new.source).is_file() and is_image_name(Path(new.source).name):
        raise SettingError(
            f"{printable(data)} is one image: name the folder of the new images, or use headclust predict --data."
        )
    entry = [new.source, new.split, [*exclude]]
    prefix: str | None = next((row[0] for row in sources if row[1:3] == entry[:2]), None)
    if prefix is None:
        prefix = free_name(storable_name(new.dataset), base.sample_ids, [row[0] for row in sources])
        sources.append([prefix, *entry])
    own = np.array([not _is_own(sample_id, new.source, source) for sample_id in new.sample_ids], bool)
    part = named(prefix, new.take(np.flatnonzero(own)))
    return _Listing(_recorded(part, base, sources, partly=True), within=f"{prefix}/")


def _inside(new: str, source: str) -> str | None:
    """Start of the names of images of a source that lie in the folder `new`; None if that lies elsewhere."""
    if new == source:
        return ""
    if Path(source).is_dir() and Path(new).is_relative_to(source):
        return f"{Path(new).relative_to(source).as_posix()}{'/' if Path(new).is_dir() else ''}"
    return None


def _is_own(sample_id: str, new: str, source: str) -> bool:
    """True if an image of the folder `new` lies in the folder of the source, whose images have their own names."""
    return Path(source).is_relative_to(new) and Path(new, sample_id).is_relative_to(source)


def _recorded(images: ImageSet, base: Features, sources: Sequence[Sequence[Any]], *, partly: bool) -> ImageSet:
    """Listed images with what the feature file records of its sources; `partly` if some sources were not listed."""
    record = {name: base.attributes[name] for name in ("exclude", "labels") if name in base.attributes}
    unlisted = images.record.get("unlisted", [])
    if partly:  # folders of other sources were not looked at
        unlisted = [*(folder for folder in base.attributes.get("unlisted", ()) if folder not in unlisted), *unlisted]
    record |= {"unlisted": unlisted} | ({"added": [*map(list, sources)]} if sources else {})
    return replace(images, record=record)


def _tell_differences(growth: Growth, listing: _Listing) -> None:
    """Log what is not new: images that were edited or are gone."""
    differences, base = growth.differences, growth.base
    n_changed, n_removed = len(differences.changed), len(differences.removed)
    if n_changed:
        first = printable(listing.images.sample_ids[differences.changed[0]])
        note(f"edited since they were embedded: {_images(n_changed)} ({first}), whose groups stay those of before.")
    if n_removed:
        first = printable(base.sample_ids[differences.removed[0]])
        note(f"no longer there: {_images(n_removed)} ({first}), which stay in their groups.")
    if n_changed or n_removed:
        note("headclust run --overwrite follows these changes: it embeds what was edited, and fits again.")
    if not differences.is_certain:
        note("the features are of an older version, which does not record if single images were edited.")


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _assigned(
    fitted: runs.Run, recorded: Sequence[dict[str, Any]], growth: Growth, seen: novelty.Seen | None, device: str | None
) -> Addition:
    """Assign every row after the fitted ones and write the table; a repeated call writes the same."""
    before = read_added(fitted)
    n_before, n_fitted = 0 if before is None else len(before.sample_ids), fitted.n_samples
    files = [load_features(Path(space["path"])) for space in recorded]
    n_added = min(file.n_samples for file in files) - n_fitted
    path, chosen = fitted.path / ADDED, resolve_device(device)
    own = runs.read_assigned(fitted)
    rows = np.arange(n_fitted, n_fitted + n_added)
    later = [space.select(rows) for space in reload_spaces(recorded, n_added=n_added)] if n_added else []
    clusters, scores, can_tell = np.empty(0, np.int64), None, False
    if later:
        assigned = assign(fitted.model, later, device=chosen)
        clusters = assigned.clusters
        if seen is None:
            note("this run stores no fitted samples, so novelty cannot be measured: fit again for that.")
        else:
            scores = novelty.measure(seen, later, device=chosen)
            n_seen = len(seen.numbers)
            can_tell = n_seen / (n_seen + 1) >= novelty.UNUSUAL
            if not can_tell:
                note(f"{n_seen} fitted images are too few to tell which of the added ones are unlike them.")
        if n_added > n_before or before is None:
            write_assignments(path, later[0].sample_ids, clusters, assigned.confidence, scores)
    names = later[0].sample_ids if later else ()
    groups = runs.read_groups(fitted)
    new = np.arange(n_before, n_added)
    group_of = dict(zip(groups.sample_ids[n_fitted:], groups.clusters[n_fitted:].tolist(), strict=True))
    counts = np.unique([group_of[storable_name(names[row])] for row in new.tolist()], return_counts=True)
    order = [] if scores is None else new[np.argsort(-scores[new], kind="stable")].tolist()
    differences, left_out = growth.differences, [image.sample_id for image in files[0].left_out]
    tried = {growth.images.sample_ids[row] for row in growth.take.tolist()}
    if tried:
        warn_if_many(files[0], listed_in(Path(recorded[0]["path"])))
    return Addition(
        run=fitted.path,
        table=path,
        n_new=len(new),
        n_added=n_added,
        groups={int(group): int(count) for group, count in zip(*counts, strict=True)},
        labels={int(group): groups.label(int(group)) for group in counts[0]},
        unlike=tuple(names[row] for row in order if scores is not None and scores[row] >= novelty.UNUSUAL),
        changed=tuple(growth.images.sample_ids[row] for row in differences.changed.tolist()),
        removed=tuple(growth.base.sample_ids[row] for row in differences.removed.tolist()),
        n_left_out=sum(name in tried for name in left_out),
        drift=measure_drift(own.clusters, clusters, scores if can_tell else None, fitted.n_clusters),
    )
