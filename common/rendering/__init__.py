"""Blur rendered with exact ground truth."""
