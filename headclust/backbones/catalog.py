"""The catalog of backbones by name. Plain data: importing it loads no model library."""

from __future__ import annotations

from headclust.backbones.catalog_authors import AUTHORS
from headclust.backbones.catalog_today import PACKAGED, TODAY
from headclust.backbones.entry import Entry
from headclust.errors import SettingError, unknown

CATALOG: dict[str, Entry] = {entry.name: entry for entry in (*PACKAGED, *AUTHORS, *TODAY)}


def find_entry(name: str) -> Entry:
    """The entry of a catalog name, or an entry without facts for any other model of timm or open_clip.

    Raises:
        SettingError: The name is unknown.
    """
    library, colon, key = name.partition(":")
    if colon and library in ("timm", "open_clip") and ":" in key:
        raise SettingError(
            f"model {name!r}: names of {library} with {key.partition(':')[0]}: are not supported: use a name from the "
            f"lists of {library}, or such a name with --weights FILE for other weights of the same architecture."
        )
    if colon and library == "timm":
        return Entry(name, "timm", key)
    if colon and library == "open_clip":
        return Entry(name, "open_clip", key)
    if name not in CATALOG:
        how = "Any timm:NAME or open_clip:ARCH/PRETRAINED is a model too; 'headclust models' lists ours."
        raise unknown("model", name, CATALOG, how=how)
    return CATALOG[name]
