"""Tables of many fits: which cells there are, making what is missing, and what is made of the results.

A plan is backbones x data sets x methods x presets x seeds (`plan`, `presets`). A cell is a fit on train features and
its scores on the test features, or the probes of a pair of feature files (`cells`); `making` goes through a plan and
leaves out what the results file holds already (`results`). Everything that is shown is made from that file alone.
"""

from __future__ import annotations
