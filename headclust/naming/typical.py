"""Typical images of groups, their features, and the images themselves embedded with another backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError, HeadclustError
from headclust.features import load_features, stored_states
from headclust.filenames import storable_name
from headclust.progress import note, printable

if TYPE_CHECKING:
    from headclust.backbones import Backbone

MOST_ROWS = 256  # typical images per group, from features
MOST_IMAGES = 32  # and if they have to be embedded first
_LEAST = 8


@dataclass(frozen=True, eq=False)
class Members:
    """The images of the groups to name.

    Attributes:
        sample_ids: Name of each image.
        groups: Id of its group, int64 (n_samples,).
        confidence: Confidence of its assignment, float64 (n_samples,).
        ids: The groups, ascending.
    """

    sample_ids: Sequence[str]
    groups: NDArray[np.int64]
    confidence: NDArray[np.float64]
    ids: Sequence[int]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Images per group, int64 (n_groups,)."""
        return np.array([int((self.groups == group).sum()) for group in self.ids])

    def typical(self, most: int) -> list[NDArray[np.int64]]:
        """Rows of the typical images of each group: of the surer half, at least 8, `most` at even distances."""
        rows = []
        for group in self.ids:
            members = np.flatnonzero(self.groups == group)
            order = members[np.argsort(-self.confidence[members], kind="stable")]
            surer = order[: max(_LEAST, len(order) // 2)]
            places = np.linspace(0, len(surer) - 1, min(most, len(surer))).astype(np.int64)
            rows.append(np.sort(surer[places]))
        return rows


def stored_features(path: Path, members: Members) -> list[NDArray[np.float32]]:
    """Features of the typical images of each group from a feature file, float32 (n_images, dim) each.

    The file may hold further images, such as those added after the fit.

    Raises:
        HeadclustError: The file cannot be used, or lacks an image of the run.
    """
    features = load_features(path)
    row_of = {storable_name(name): row for row, name in enumerate(features.sample_ids)}
    try:
        rows = np.array([row_of[storable_name(name)] for name in members.sample_ids], np.int64)
    except KeyError as error:
        raise DataError(f"{printable(str(path))} lacks the image {printable(error.args[0])!r} of the run.") from None
    return [features.values(rows[typical]) for typical in members.typical(MOST_ROWS)]


def embed_typical(
    members: Members, recorded: Mapping[str, Any], backbone: Backbone, *, device: str | None
) -> list[NDArray[np.float32]]:
    """Features of the typical images of each group by another backbone, float32 (n_images, dim) each.

    The images are read from the source that the run records, and from those added since that its feature file records.
    Those that are missing or cannot be read are left out, so a group may have none.

    Args:
        members: The images of the groups.
        recorded: The record of the run's features, with `path`, `sha256`, `source` and `split`.
        backbone: The backbone.
        device: Where to compute; the best available when None.

    Raises:
        DataError: The source cannot be opened, or no image can be read.
    """
    from headclust.embedding import EmbedSettings
    from headclust.embedding.embed import embed_images
    from headclust.images.datasets.reopen import reopen

    path = Path(recorded["path"])
    with suppress(HeadclustError):  # without the feature file, the images that were added since are left out
        if recorded["sha256"] in stored_states(path):
            recorded = load_features(path).attributes
    reopened = reopen(recorded.get("source"), recorded.get("split"), members.sample_ids, recorded)
    if reopened.images is None:
        raise DataError(f"the images cannot be found: {reopened.problem}")
    typical = [rows[reopened.rows[rows] >= 0] for rows in members.typical(MOST_IMAGES)]
    rows = np.concatenate(typical)
    if not len(rows):
        raise DataError(f"{printable(str(recorded['source']))} holds none of the run's images.")
    images = reopened.images.take(reopened.rows[rows]).without_labels()
    note(f"embedding {len(rows)} typical images with {backbone.name}.")
    with TemporaryDirectory(prefix="headclust-name-") as folder:
        path = embed_images(
            images, backbone, Path(folder) / "typical.h5", EmbedSettings(on_error="skip", device=device)
        )
        features = load_features(path)
        row_of = {name: row for row, name in enumerate(features.sample_ids)}
        ids = reopened.images.sample_ids
        groups = []
        for members_rows in typical:
            names = [ids[reopened.rows[row]] for row in members_rows]
            groups.append(features.values(np.array([row_of[name] for name in names if name in row_of], np.int64)))
    if not any(map(len, groups)):
        raise DataError(f"none of the typical images in {printable(str(recorded['source']))} can be read.")
    return groups
