"""Scores: of clusterings (`metrics`), of features (`probes`), and statistics over several of them."""
