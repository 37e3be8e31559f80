"""Numbers that more than one stage must agree on."""

MAGNITUDE_SCALE = 205.0
"""Blur length, in pixels, that the networks see as 1 (the largest one in the authors' training data)."""
