"""How a video is cut for inference: which frames go in together, and which restored frames come out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Clip:
    """`inputs`: positions of the frames fed together (mirrored at the ends of the video where needed);
    `outputs`: (index into the network's output, position in the video) of the frames taken from it."""

    inputs: tuple[int, ...]
    outputs: tuple[tuple[int, int], ...]


def cut(frames: int, past: int, future: int, length: int, borders: str, overlap: int = 0) -> list[Clip]:
    """Clips of at most `length` frames that restore a video of `frames` frames.

    past, future: frames a network reads at the ends of a clip without restoring them. borders: "mirror"
    restores every frame; beyond its ends the video is mirrored at the first and the last frame. "drop"
    restores only frames that have `past` and `future` real neighbours (released code). A
    clip of the smallest length, past + 1 + future, gives one frame and so is the released code's window. The
    last clip is moved back so that it is as long as the others; where two clips restore a frame, the first
    result counts. overlap: frames at each inner end of a clip whose result is not used, so that a network
    that restores whole clips never delivers a frame that lacks context. Raises ValueError where `length`
    leaves nothing to restore, or "drop" does.
    """
    restored = length - past - future - 2 * overlap
    if restored < 1:
        raise ValueError(
            f"expected a clip length of at least {past + future + 2 * overlap + 1}, got {length}"
        )
    if borders == "mirror":
        wanted = range(frames)
    else:
        wanted = range(past, frames - future)
        if not wanted:
            raise ValueError(f"expected more than {past + future} frames, got {frames}")
    clips = []
    for start in range(wanted.start, wanted.stop, restored):
        first = max(wanted.start, min(start, wanted.stop - restored))
        last = min(wanted.stop, first + restored)
        before, after = max(wanted.start, first - overlap), min(wanted.stop, last + overlap)
        inputs = tuple(_mirrored(position, frames) for position in range(before - past, after + future))
        clips.append(Clip(inputs, tuple((position - before, position) for position in range(start, last))))
    return clips


def block(clips: list[Clip], rank: int, size: int) -> list[Clip]:
    """The clips of one process of `size`: neighbours share frames, so a run of them rather than every
    size-th."""
    return clips[len(clips) * rank // size : len(clips) * (rank + 1) // size]


def _mirrored(position: int, frames: int) -> int:
    if frames == 1:
        return 0
    # Mirrored as often as needed: a video may be shorter than a clip.
    position %= 2 * (frames - 1)
    return min(position, 2 * (frames - 1) - position)
