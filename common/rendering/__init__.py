"""Blur: rendered with exact ground truth, measured, drawn along lines, and shown as colours."""
