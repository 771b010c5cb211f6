"""Gradient training of heads: objectives, the settings of a stage, and the one training loop."""
