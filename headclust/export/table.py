"""What is exported: a row a sample, and the names of the groups."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headclust.errors import DataError, FileFormatError
from headclust.progress import printable

_HEADER = ["cluster", "name"]
_LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class Table:
    """A row a sample, in the order of the assignments.

    Attributes:
        sample_ids: As in the assignments; what is not UTF-8 is held by surrogates, as from `os.fsdecode`.
        paths: The absolute path of each image's file; None where it is in none of its own, or gone.
        clusters: Numbers from 0.
        groups: The name of every cluster, by its number; clusters of one name are one group.
        confidence: From 0 to 1.
        novelty: From 0 to 1; None where it is not known.
        labels: The name of each sample's class, None where it is unknown; None without labels.
        source: Where the images come from, for the reader; None where it is not known.
    """

    sample_ids: Sequence[str]
    paths: Sequence[str | None]
    clusters: Sequence[int]
    groups: Sequence[str]
    confidence: Sequence[float]
    novelty: Sequence[float] | None = None
    labels: Sequence[str | None] | None = None
    source: str | None = None

    @property
    def group_of(self) -> list[str]:
        """The group of every sample."""
        return [self.groups[cluster] for cluster in self.clusters]

    @property
    def classes(self) -> list[str]:
        """The groups, each once, in the order of their first cluster."""
        return list(dict.fromkeys(self.groups))

    def __len__(self) -> int:
        return len(self.sample_ids)


def group_names(n_clusters: int, named: Mapping[int, str]) -> tuple[str, ...]:
    """The name of every cluster: as given, or cluster-0, with as many digits as the last one has.

    Args:
        n_clusters: Number of clusters.
        named: Names of some clusters, by number.
    """
    width = len(str(n_clusters - 1))
    return tuple(named.get(cluster, f"cluster-{cluster:0{width}d}") for cluster in range(n_clusters))


def read_names(path: Path, n_clusters: int) -> dict[int, str]:
    """Names of clusters from a CSV file with the columns cluster,name; a name may stand for several clusters.

    Raises:
        DataError: There is no such file, a cluster does not exist or comes twice, a name is empty or too long.
        FileFormatError: It is no such file.
    """
    named: dict[int, str] = {}
    file, line = printable(str(path)), 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            if header != _HEADER:
                found = printable(",".join(header))[:100]
                raise FileFormatError(f"{file} starts with {found!r}: wanted the header {','.join(_HEADER)}.")
            for row in reader:
                line = reader.line_num
                if row:
                    _add(named, row, n_clusters)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file: wanted a CSV file with the columns {','.join(_HEADER)}.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{file} is not UTF-8 text: save it as UTF-8.") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{file}, line {line}: {error}.") from None
    return named


def _add(named: dict[int, str], row: Sequence[str], n_clusters: int) -> None:
    if len(row) != len(_HEADER):
        raise ValueError(f"{len(row)} columns, wanted {len(_HEADER)}")
    number, name = (text.strip() for text in row)
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) < n_clusters):
        raise ValueError(f"cluster {printable(number)[:50]!r}, wanted 0 to {n_clusters - 1}")
    if int(number) in named:
        raise ValueError(f"cluster {number} comes twice, wanted one name")
    if not name or len(name) > _LONGEST or not name.isprintable():
        raise ValueError(f"name {printable(name)[:50]!r}, wanted 1 to {_LONGEST} characters that can be printed")
    named[int(number)] = name
