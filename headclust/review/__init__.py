"""The local page on which a person corrects the groups of a run. See docs/how-to/review.md."""
