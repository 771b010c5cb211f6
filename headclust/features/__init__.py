"""The feature file: features of one dataset split from one frozen backbone, an HDF5 file that is complete or absent.

`load_features` reads a feature file, `write_features` writes one from an array, `verify_features` compares one with its
checksum, and `open_staging` lets `headclust.embedding` write one such that a killed run can resume. The format is
described in docs/feature-file.md.
"""

from __future__ import annotations

from headclust.features.checks import check_finite, check_sample_ids
from headclust.features.folder import is_folder
from headclust.features.format import FEATURE_DTYPES, samples_sha256
from headclust.features.growth import Differences, differences, write_grown
from headclust.features.left_out import LeftOut, kind_of, samples_as_recorded, worth_trying
from headclust.features.reading import Features, load_features, stored_rows, stored_sha256, stored_states
from headclust.features.staged import Layout
from headclust.features.staging import Staging, open_staging
from headclust.features.verifying import verify_features
from headclust.features.writing import staging_folder, write_features

__all__ = [
    "FEATURE_DTYPES",
    "Differences",
    "Features",
    "Layout",
    "LeftOut",
    "Staging",
    "check_finite",
    "check_sample_ids",
    "differences",
    "is_folder",
    "kind_of",
    "load_features",
    "open_staging",
    "samples_as_recorded",
    "samples_sha256",
    "staging_folder",
    "stored_rows",
    "stored_sha256",
    "stored_states",
    "verify_features",
    "worth_trying",
    "write_features",
    "write_grown",
]
