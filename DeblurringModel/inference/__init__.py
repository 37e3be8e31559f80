"""How a video is restored: clips, tiles, frames, and whether the result is sound."""
