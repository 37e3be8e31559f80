"""The diffusion model ID-Blau."""
