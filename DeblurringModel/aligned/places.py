"""Where what was borrowed lies on disk, below <output>/deblurring/<model>."""

from pathlib import Path

from common.videos import Video

ALIGNED, FUSED = "aligned", "fused"
PICTURE, WEIGHT, SOURCE = "picture", "weight", "source"
THIS_FRAME = 128
"""What a source picture holds for the frame itself, were it borrowed from."""


def place(video: Video, kind: str, position: int) -> Path:
    """A frame's picture, weight or source, below the folder `ALIGNED`."""
    return Path(video.name) / kind / f"{video.names[position]}.png"
