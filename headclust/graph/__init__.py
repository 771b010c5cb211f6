"""Neighbor graph of feature rows: exact search, and the graph as a sparse matrix with its eigenvectors."""

from __future__ import annotations

from headclust.graph.neighbors import NeighborGraph

__all__ = ["NeighborGraph"]
