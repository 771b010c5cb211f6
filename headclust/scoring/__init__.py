"""Scores of clusterings (`metrics`) and of features (`probes`), and statistics over several fits (`statistics`)."""
