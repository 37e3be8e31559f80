"""Blur: rendered with exact ground truth, drawn along lines, and shown as colours."""
