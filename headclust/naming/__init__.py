"""Words for the groups of a run: evidence from several sources (`sources`), and the choice of names (`choice`).

Names never reach a clustering.
"""
