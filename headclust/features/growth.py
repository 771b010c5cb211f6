"""A feature file that has grown: rows of an earlier one, with their bytes, and then rows of images that came later.

Its attribute `grown_from` lists checksum and number of rows of every earlier state whose rows are its first ones. So a
run that was fitted on such a state still finds its rows here (`Features.first`). The list is empty if rows were left
out in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.features.assembly import Samples
from headclust.features.format import FEATURE_DTYPES, MACHINE_ATTRIBUTES, OWN_ATTRIBUTES, STAMP_DTYPE, samples_sha256
from headclust.features.left_out import LeftOut, Stamp, samples_as_recorded, stored_kinds, worth_trying
from headclust.features.reading import Features
from headclust.features.source import row_blocks
from headclust.features.staged import StagedBlocks
from headclust.features.writing import Table, side_tables, write_file

UNKNOWN: Stamp = (0, 0)  # of a file whose size and time are not recorded


def write_grown(
    path: Path,
    base: Features,
    old_rows: NDArray[np.int64],
    left_out: Sequence[LeftOut],
    later: Samples,
    blocks: StagedBlocks | None,
    attributes: Mapping[str, Any],
) -> Path:
    """Write rows of a feature file and rows of later images as one file; return its path.

    Args:
        path: The file, which may be that of `base`. The caller holds its lock.
        base: The earlier file.
        old_rows: Its rows to keep, int64, ascending.
        left_out: The images that it leaves out and that stay so.
        later: The later images; those that cannot be read are left out. Labels are in the class names of `attributes`.
        blocks: Their rows, complete; None if there are no such images.
        attributes: What the file records otherwise than `base` (`class_names` are those of all labels), and device,
            threads and versions of the later rows.

    Raises:
        HeadclustError: The file cannot be written.
    """
    first, bad = (0, {}) if blocks is None else (blocks.layout.first_row, blocks.bad)
    times = later.stamps or [UNKNOWN] * len(later.sample_ids)
    good = [row for row in range(len(later.sample_ids)) if first + row not in bad]
    missing = [LeftOut(later.sample_ids[row - first], bad[row], times[row - first]) for row in sorted(bad)]
    skipped = [*left_out, *missing]
    ids = [*(base.sample_ids[row] for row in old_rows.tolist()), *(later.sample_ids[row] for row in good)]
    old_stamps = np.zeros((base.n_samples, 2), STAMP_DTYPE) if base.stamps is None else base.stamps
    new_stamps = np.array([times[row] for row in good], STAMP_DTYPE).reshape(-1, 2)
    stamps = np.concatenate([old_stamps[old_rows], new_stamps])
    labels = None
    if base.labels is not None:
        new_labels = np.full(len(good), -1) if later.labels is None else later.labels[good]
        labels = np.concatenate([base.labels[old_rows], new_labels]).astype(np.int64)
    pairs = [(image.sample_id, str(image.reason)) for image in skipped]
    tables = [*_feature_tables(base, old_rows, blocks, len(ids)), *side_tables(ids, labels, pairs, stamps)]
    recorded = {
        **{name: base.attributes[name] for name in base.attributes if name not in OWN_ATTRIBUTES},
        **{name: attributes[name] for name in attributes if name not in MACHINE_ATTRIBUTES},
        **_machines(base, len(old_rows), attributes if good else {}),
        "n_listed": len(ids) + len(skipped),
        "samples_sha256": grown_samples_sha256(ids, labels, stamps, skipped),
        "grown_from": _grown_from(base) if len(old_rows) == base.n_samples else [],
    }
    if not recorded.get("unlisted"):
        recorded.pop("unlisted", None)
    if skipped:
        recorded["skipped_kinds"] = stored_kinds((image.reason, image.stamp or UNKNOWN) for image in skipped)
    return write_file(path, tables, recorded)


def grown_samples_sha256(
    sample_ids: Sequence[str],
    labels: NDArray[np.int64] | None,
    stamps: NDArray[np.int64],
    left_out: Sequence[LeftOut],
) -> str:
    """`samples_sha256` of a grown file: of its samples in their order, then of the images that it leaves out."""
    ids = [*sample_ids, *(image.sample_id for image in left_out)]
    all_stamps = [*map(tuple, stamps.tolist()), *(image.stamp or UNKNOWN for image in left_out)]
    all_labels = None if labels is None else np.concatenate([labels, np.full(len(left_out), -1)])
    return samples_sha256(ids, all_stamps, all_labels)


def _grown_from(base: Features) -> list[list[Any]]:
    return [*base.attributes.get("grown_from", []), [base.sha256, base.n_samples]]


def _machines(base: Features, n_kept: int, later: Mapping[str, Any]) -> dict[str, Any]:
    """The attribute `machines`: first row, device, threads and versions of each, if the later rows have another one."""
    own = [base.attributes.get(name) for name in MACHINE_ATTRIBUTES]
    machines = base.attributes.get("machines") or [[0, *own]]
    machine = [later.get(name) for name in MACHINE_ATTRIBUTES]
    if later and machines[-1][1:] != machine:
        machines = [*machines, [n_kept, *machine]]
    return {"machines": machines} if len(machines) > 1 else {}


def _feature_tables(
    base: Features, old_rows: NDArray[np.int64], later: StagedBlocks | None, n_samples: int
) -> Iterator[Table]:
    dtype, shape = FEATURE_DTYPES[str(base.attributes["dtype"])], (n_samples, base.feature_dim)
    everything = len(old_rows) == base.n_samples

    def rows(plane: int) -> Iterator[NDArray[np.floating[Any]]]:
        source = base.source(plane - 1 if plane else None)
        for block in row_blocks(len(old_rows), base.feature_dim):
            yield source[block if everything else old_rows[block]]
        if later is not None:
            yield from later.good_rows(plane)

    yield Table("features", dtype, shape, rows(0))
    if base.n_views:
        views = chain.from_iterable(rows(1 + view) for view in range(base.n_views))
        yield Table("views", dtype, (base.n_views, *shape), views)


@dataclass(frozen=True, eq=False)
class Differences:
    """The images of a source as it is now, compared with those of a feature file.

    Attributes:
        new: Rows in the list of images: those without a row in the file, int64, ascending.
        again: Rows in the list of images that the file leaves out and that are worth another try.
        changed: Rows in the list of images whose file has another size or time than the file's row was made of.
        removed: Rows of the feature file whose image is not listed any more.
        gone: Names of images that the file leaves out, and that are not listed any more.
        is_certain: False if the file, of an older version, does not record from which size and time a row was made.
    """

    new: NDArray[np.int64]
    again: NDArray[np.int64]
    changed: NDArray[np.int64]
    removed: NDArray[np.int64]
    gone: frozenset[str]
    is_certain: bool = True

    def __bool__(self) -> bool:
        return bool(len(self.new) or len(self.again) or len(self.changed) or len(self.removed))


def differences(
    base: Features,
    sample_ids: Sequence[str],
    stamps: Sequence[Stamp],
    labels: NDArray[np.int64] | None,
    in_scope: Callable[[str], bool] = lambda name: True,
) -> Differences:
    """Compare a feature file with the list of images of its source.

    Args:
        base: The feature file.
        sample_ids: The images that are listed now.
        stamps: Size and time of the file of each.
        labels: Their labels, for the checksum of files of older versions; None without labels.
        in_scope: False for the names of images that were not looked for, and so are not missing.
    """
    listed = {name: row for row, name in enumerate(sample_ids)}
    row_of = {name: row for row, name in enumerate(base.sample_ids)}
    left_out = {image.sample_id for image in base.left_out}
    new = [row for row, name in enumerate(sample_ids) if name not in row_of and name not in left_out]
    times = {name: stamps[listed[name]] for name in left_out & listed.keys()}
    again = sorted(listed[name] for name in worth_trying(base.left_out, times))
    removed = [row for name, row in row_of.items() if name not in listed and in_scope(name)]
    gone = frozenset(name for name in left_out if name not in listed and in_scope(name))
    recorded = base.stamps
    if recorded is None:
        # A file of an older version has one checksum of all: if that of the images without the new ones is the same,
        # none has changed.
        old = sorted(set(range(len(sample_ids))) - set(new))
        now = samples_as_recorded(
            base.left_out,
            [sample_ids[row] for row in old],
            [stamps[row] for row in old],
            None if labels is None else labels[old],
        )
        is_certain, changed = now == base.attributes.get("samples_sha256"), []
    else:
        times_now = ((row, listed[name]) for name, row in row_of.items() if name in listed)
        old_stamps = recorded.tolist()
        changed = [now for row, now in times_now if (*old_stamps[row],) not in (UNKNOWN, stamps[now])]
        is_certain = True
    rows = (np.array(part, np.int64) for part in (new, again, sorted(changed), removed))
    return Differences(*rows, gone, is_certain)
