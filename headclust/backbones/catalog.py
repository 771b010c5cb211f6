"""The names there are. Plain data: reading it loads no library."""

from __future__ import annotations

from headclust.backbones.catalog_authors import AUTHORS
from headclust.backbones.catalog_today import PACKAGED, TODAY
from headclust.backbones.entry import Entry
from headclust.errors import unknown

CATALOG: dict[str, Entry] = {entry.name: entry for entry in (*PACKAGED, *AUTHORS, *TODAY)}


def entry_of(name: str) -> Entry:
    """A name of the catalog, or any model of timm or open_clip, of which nothing more is known here.

    Raises:
        SettingError: The name is neither.
    """
    library, colon, key = name.partition(":")
    if colon and library == "timm":
        return Entry(name, "timm", key)
    if colon and library == "open_clip":
        return Entry(name, "open_clip", key)
    if name not in CATALOG:
        how = "Any timm:NAME or open_clip:ARCH/PRETRAINED is a model too; 'headclust models' lists ours."
        raise unknown("model", name, CATALOG, how=how)
    return CATALOG[name]
