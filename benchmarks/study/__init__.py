"""Tables of many fits: the plan, the runner that makes its cells, and the tables and pictures of their results.

A plan is backbones x data sets x methods x presets x seeds (`plan`, `presets`). A cell is a fit on train features and
its scores on the test features, or the probes of a pair of feature files (`cells`); `runner` goes through a plan and
skips the cells that are in the results file (`results`). All tables and pictures are made from that file alone.
"""
