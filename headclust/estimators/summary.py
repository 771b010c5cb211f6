"""A fitted clustering as a table for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.progress import percent

ROWS = 50  # clusters shown, the largest first
# Borders take the color of the text, so that the table suits a light and a dark notebook.
STYLE = (
    "<style>.headclust table{border-collapse:collapse;margin:.5em 0}"
    ".headclust caption{text-align:left;padding:.2em 0}"
    ".headclust th,.headclust td{text-align:right;padding:.15em .8em;border-bottom:1px solid currentColor}"
    ".headclust figure{display:inline-block;margin:.2em;width:128px;vertical-align:top;font-size:11px}"
    ".headclust figcaption{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}"
    ".headclust img{display:block;min-width:64px;max-width:100%;height:auto}</style>"
)


def summary(labels: NDArray[np.int64], confidence: NDArray[np.float32], report: Mapping[str, Any]) -> str:
    """HTML table of the clusters with size, share and mean confidence, the largest first, at most `ROWS` rows.

    Args:
        labels: Clusters, (n_samples,).
        confidence: Their probability, (n_samples,).
        report: The contents of metrics.json.
    """
    n_clusters = report["n_clusters"]
    sizes = np.bincount(labels, minlength=n_clusters)
    sums = np.bincount(labels, weights=confidence, minlength=n_clusters)
    order = np.argsort(-sizes, kind="stable")
    rows = [
        f"<tr><th scope='row'>{cluster}</th><td>{sizes[cluster]:,}</td><td>{percent(sizes[cluster] / len(labels))}</td>"
        f"<td>{percent(sums[cluster] / sizes[cluster]) if sizes[cluster] else '-'}</td></tr>"
        for cluster in order[:ROWS].tolist()
    ]
    if n_clusters > ROWS:
        rest = int(sizes[order[ROWS:]].sum())
        rows.append(f"<tr><th scope='row'>{n_clusters - ROWS} more</th><td>{rest:,}</td><td></td><td></td></tr>")
    heads = "".join(f"<th scope='col'>{name}</th>" for name in ("cluster", "size", "share", "mean confidence"))
    agreement = report["agreement"]
    heads_agreement = "" if agreement is None else f", agreement of heads {percent(agreement)}"
    caption = f"{len(labels):,} samples in {report['clusters_used']} of {n_clusters} clusters{heads_agreement}"
    table = f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"{STYLE}<div class='headclust'>{table}</div>"
