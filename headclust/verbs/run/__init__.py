"""The verb `run`: from a folder of images to groups and a report."""

from __future__ import annotations

from headclust.verbs.run.run import Groups, run

__all__ = ["Groups", "run"]
