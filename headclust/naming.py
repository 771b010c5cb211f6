"""Names that can be file names anywhere."""

from __future__ import annotations

import re


def file_name(text: str) -> str:
    """`text` with everything but letters, digits and `._=+@` turned into "-", so that it can name a file anywhere."""
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")  # what is not UTF-8 stays apart
    return re.sub(r"[^\w.=+@-]+", "-", text).strip("-.") or "unnamed"
