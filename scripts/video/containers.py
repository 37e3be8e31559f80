"""Kinds of video files that are written, and what each can hold."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of video file, in FFmpeg's names.

    format: the container. encoder, options: how pictures are compressed. sound: encoder for sounds that
    cannot be copied, and its bits a second. copied: kinds of sound that are copied as they are; None: all
    that the container takes. words: encoder for subtitles of text that cannot be copied, None where there
    are none. clips: whether what lies before time zero can be kept and is not shown (an edit list). times:
    whether each frame has a time stamp of its own, and each stream a start. settings: of the container.
    """

    format: str
    encoder: str
    options: tuple[tuple[str, str], ...]
    sound: tuple[str, int]
    copied: frozenset[str] | None
    words: str | None
    clips: bool = False
    times: bool = True
    settings: tuple[tuple[str, str], ...] = ()


_H264 = (("crf", "16"), ("preset", "medium"), ("x264-params", "mbtree=0"))
"""x264's quality at which differences from the frames are hard to see. With its macroblock tree the same
pictures gave other bytes from one call to the next."""
_VP9 = (("crf", "18"), ("b", "0"), ("row-mt", "1"), ("cpu-used", "3"))
_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac", "dts"})
_MOV = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"})
_AVI = frozenset({"mp3", "mp2", "ac3", "pcm_s16le", "pcm_u8"})
_TAGS = (("movflags", "+faststart"),)

KINDS = {
    ".mp4": Kind("mp4", "libx264", _H264, ("aac", 192000), _MP4, "mov_text", True, settings=_TAGS),
    ".mov": Kind("mov", "libx264", _H264, ("aac", 192000), _MOV, "mov_text", True, settings=_TAGS),
    ".mkv": Kind("matroska", "libx264", _H264, ("aac", 192000), None, "subrip"),
    ".webm": Kind("webm", "libvpx-vp9", _VP9, ("libopus", 160000), frozenset({"opus", "vorbis"}), "webvtt"),
    ".avi": Kind("avi", "libx264", (*_H264, ("bf", "0")), ("libmp3lame", 192000), _AVI, None, times=False),
}
KINDS[".m4v"] = KINDS[".mp4"]
"""By the ending of a file's name."""
TEXT = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})
"""Subtitles of text, which can be made into each other."""
OTHER_ENDINGS = frozenset(
    ".ts .mts .m2ts .mpg .mpeg .m2v .vob .wmv .asf .flv .f4v .ogv .ogg .3gp .3g2 .mxf .gif .apng "
    ".y4m .h264 .264 "
    ".hevc .h265 .265 .ivf .obu .rm .rmvb .divx .dv .qt .mj2 .mpe .nut .swf".split()
)
"""Endings of video files that are read but not written."""
