"""Frames -> a video file of the same size and rate, with the sound of the original where an ffmpeg program is
there."""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError

Frames = Callable[[], Iterable[np.ndarray]]
"""Gives the pictures of a video, uint8 RGB (H, W, 3) of one size, anew each time it is called."""
_CRF = "16"
"""x264's quality: differences from the frames are hard to see."""
_MATRICES = {"bt601": ("bt470bg", "smpte170m"), "bt709": ("bt709",)}
"""ffmpeg's two conversions between RGB and what is stored, and the tags in a file that mean them."""
_HIGH_DYNAMIC_RANGE = ("bt2020", "smpte2084", "arib-std-b67")


def check_target(path: Path, width: int, height: int) -> None:
    """UserError where a video of this size cannot be written to a file of this kind; to ask before hours of
    work."""
    odd = width % 2 or height % 2
    if odd and path.suffix.lower() != ".avi" and shutil.which("ffmpeg") is None:
        # Through FFmpeg OpenCV cuts odd sizes down to even ones.
        raise UserError(
            f"--out: without ffmpeg a video of odd size ({width} x {height}) can only be written as .avi; "
            "install ffmpeg, or name an .avi file"
        )


def write_video(
    path: Path, frames: Frames, count: int, fps: float, source: Path | None, folder: Path
) -> list[str]:
    """Write `path`, whole or not at all; returns what there is to say about it.

    count: number of the frames. source: the video that the frames come from, whose sound is copied; None
    where there is none. folder: an existing place for the unfinished file, on the same disk. With an `ffmpeg`
    on the PATH the video is H.264; without one, or where it cannot make H.264, it is what OpenCV writes,
    without sound. Raises UserError where no video can be written or it does not read back with all its
    frames.
    """
    said: list[str] = []
    program = shutil.which("ffmpeg")
    unfinished = folder / f".tmp-video{path.suffix}"
    first = next(iter(frames()))
    try:
        if program is None:
            said.append(
                "no ffmpeg on the PATH, so the video is compressed less well"
                + (" and has no sound" if source is not None else "")
            )
            _with_opencv(unfinished, frames, fps)
        elif not _with_ffmpeg(program, unfinished, frames, fps, source, said):
            said.append("without sound, by OpenCV")
            _with_opencv(unfinished, frames, fps)
        _check(unfinished, count, first.shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); choose another place with --out"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return said


def _with_ffmpeg(
    program: str, target: Path, frames: Frames, fps: float, source: Path | None, said: list[str]
) -> bool:
    """H.264 and the source's sound; False, and the reason among `said`, where ffmpeg cannot."""
    streams = _streams(program, source) if source is not None else ""
    sounds = ("copy", "aac", None) if "Audio:" in streams else (None,)
    first = next(iter(frames()))
    odd = any(side % 2 for side in first.shape[:2])
    rate = Fraction(fps).limit_denominator(1001)
    matrix, darkened = _decoding(program, source, first) if source is not None else ("bt601", 0)
    tag = next((tag for tag in _MATRICES[matrix] if re.search(rf"Video:.*\b{tag}\b", streams)), None)
    shape = re.search(r"Video:.*\bSAR (\d+):(\d+)", streams)
    if any(word in streams for word in _HIGH_DYNAMIC_RANGE):
        said.append("the original has a high dynamic range, the result has 8 bits and ordinary colours")
    for sound in sounds:
        command = [
            program,
            "-y",
            "-v",
            "error",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{first.shape[1]}x{first.shape[0]}",
            "-r",
            str(rate),
            "-i",
            "-",
        ]
        command += ["-i", str(source)] if sound else []
        command += ["-map", "0:v"] + (["-map", "1:a", "-c:a", sound] if sound else [])
        # A file without a tag stays one: players that guess then guess the same for both.
        command += [
            "-vf",
            f"scale=out_color_matrix={matrix}:out_range=tv:flags=accurate_rnd+full_chroma_int,"
            f"setparams=colorspace={tag or 'unknown'}" + (f",setsar={shape[1]}/{shape[2]}" if shape else ""),
            "-c:v",
            "libx264",
            "-crf",
            _CRF,
            "-pix_fmt",
            "yuv444p" if odd else "yuv420p",
        ]
        problem = _fed(command + [str(target)], frames, darkened)
        if problem is None:
            if odd:
                said.append(
                    "the size is odd, so the video has full colour resolution (yuv444p), which some players "
                    "do not show"
                )
            if sound != sounds[0]:
                said.append(
                    "the sound could not be copied as it is; "
                    + ("it was encoded anew" if sound else "the result has none")
                )
            return True
    said.append(f"ffmpeg cannot write this video ({problem})")
    return False


def _fed(command: list[str], frames: Frames, add: int) -> str | None:
    """Run ffmpeg with the frames, `add` grey levels lighter, on its standard input: None, or the last line of
    its complaint."""
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
        ) as process:
            try:
                for frame in frames():
                    process.stdin.write(cv2.add(frame, (add,) * 4).tobytes())
                process.stdin.close()
            except BrokenPipeError:
                # It has ended early; its complaint says why.
                pass
            except BaseException:
                process.kill()
                raise
        if process.returncode == 0:
            return None
        errors.seek(0)
        lines = errors.read().decode(errors="replace").split("\n")
        return next(
            (line.strip() for line in reversed(lines) if line.strip()), f"exit code {process.returncode}"
        )[:200]


def _streams(program: str, source: Path) -> str:
    """What ffmpeg says about the streams of a file."""
    told = subprocess.run(
        [program, "-hide_banner", "-i", str(source)], stdin=subprocess.DEVNULL, capture_output=True
    )
    return told.stderr.decode(errors="replace")


def _decoding(program: str, source: Path, first: np.ndarray) -> tuple[str, int]:
    """How OpenCV made RGB of this file's first frame: with which matrix, and by how many grey levels too
    dark.

    Encoding the same way gives the colours back. The matrix depends on the file's tags and on OpenCV's
    version, so it is tried out; that conversion is a fast one, which rounds down.
    """
    nearest, darkened = {}, {}
    for matrix in _MATRICES:
        fast, exact = (
            _first_frame(program, source, first.shape, f"scale=in_color_matrix={matrix}{flags}")
            for flags in ("", ":flags=accurate_rnd+full_chroma_int")
        )
        if fast is not None and exact is not None:
            nearest[matrix] = float(np.abs(fast - first).mean())
            darkened[matrix] = round(float((exact - first).mean()))
    best = min(nearest, key=nearest.get, default="bt601")
    return best, max(0, min(2, darkened.get(best, 0)))


def _first_frame(program: str, source: Path, shape: tuple[int, ...], conversion: str) -> np.ndarray | None:
    """The first frame, int16 (H, W, 3), as ffmpeg decodes it; None where it does not."""
    done = subprocess.run(
        [
            program,
            "-v",
            "error",
            "-i",
            str(source),
            "-frames:v",
            "1",
            "-vf",
            conversion,
            "-pix_fmt",
            "rgb24",
            "-f",
            "rawvideo",
            "-",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    decoded = np.frombuffer(done.stdout, np.uint8)
    return decoded.reshape(shape).astype(np.int16) if decoded.size == np.prod(shape) else None


def _with_opencv(target: Path, frames: Frames, fps: float) -> None:
    height, width = next(iter(frames())).shape[:2]
    check_target(target, width, height)
    # OpenCV's own Motion-JPEG takes odd sizes, but only knows whole frame rates.
    avi = target.suffix.lower() == ".avi"
    backend, codec = (cv2.CAP_OPENCV_MJPEG, "MJPG") if avi else (cv2.CAP_FFMPEG, "mp4v")
    writer = cv2.VideoWriter(str(target), backend, cv2.VideoWriter_fourcc(*codec), fps, (width, height))
    if not writer.isOpened():
        raise UserError(
            f"--out: OpenCV cannot write {target.suffix} files here; install ffmpeg, or name an .avi file"
        )
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 95)
    for frame in frames():
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    if avi:
        _set_avi_rate(target, fps)


def _set_avi_rate(path: Path, fps: float) -> None:
    """Put the true frame rate into the header of an AVI file."""
    rate = Fraction(fps).limit_denominator(1001)
    with open(path, "r+b") as file:
        head = file.read(4096)
        main, stream = head.find(b"avih"), head.find(b"strh")
        if main < 0 or stream < 0:
            raise UserError(f"{path}: the video's header is not as expected; install ffmpeg")
        # After name and length: microseconds a frame; type, handler, flags, priority, start, then scale and
        # rate.
        file.seek(main + 8)
        file.write(struct.pack("<I", round(1e6 / fps)))
        file.seek(stream + 8 + 20)
        file.write(struct.pack("<II", rate.denominator, rate.numerator))


def _check(path: Path, count: int, shape: tuple[int, ...]) -> None:
    capture = cv2.VideoCapture(str(path))
    found, size = 0, None
    while (read := capture.read())[0]:
        found, size = found + 1, read[1].shape
    capture.release()
    if found != count or size != shape:
        raise UserError(
            f"{path.name}: the video that was written has {found} of {count} frames when read again; free disk "
            "space, or name another kind of file with --out"
        )
