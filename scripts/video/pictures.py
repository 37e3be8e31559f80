"""Decoded frames of a video file -> upright RGB pictures of 8 bits with right colours."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type

from common.errors import UserError
from common.formats.image_formats import MOST_PIXELS
from scripts.video.colour import HLG_PEAK, MOST_NITS, REFERENCE_WHITE, Colour, matrix_name, to_ordinary
from scripts.video.interlaced import field_order
from scripts.video.orientation import UPRIGHT, Turn, turn_of, turned

EXACT = "flags=accurate_rnd+full_chroma_int+full_chroma_inp+bicubic:sws_dither=none"
_JPEG_RANGE = 2


@dataclass(frozen=True)
class Layout:
    """What a filter graph is made for."""

    width: int
    height: int
    pixels: str
    colour: Colour
    interlaced: bool


class Pictures:
    """Turns a file's decoded frames, given one after the other, into pictures with time stamps.

    All have the size of the first. `notes`: messages on what was changed or lost, complete after the last
    one.
    """

    def __init__(self, path: Path) -> None:
        self.notes: list[str] = []
        self.colour = Colour()
        self.turn: Turn = UPRIGHT
        self._path = path
        self._graph: av.filter.Graph | None = None
        self._layout: Layout | None = None
        self._size = (0, 0)
        self._peak = HLG_PEAK
        self._order: str | None = None
        self._asked = False

    def push(self, frame: av.VideoFrame) -> list[tuple[np.ndarray, int]]:
        """Pictures, uint8 RGB (H, W, 3), and times in the units of the frame's; they may come later."""
        layout = self._layout_of(frame)
        before = []
        if layout != self._layout:
            before = self.finish()
            if self._layout is None:
                self._begin(frame, layout)
            elif (frame.width, frame.height) != (self._layout.width, self._layout.height):
                self._note(f"the picture's size changes, all are {self._size[0]} x {self._size[1]}")
            self._graph, self._layout = self._graph_for(layout, frame.time_base), layout
        self._graph.push(frame)
        return before + self._pull()

    def finish(self) -> list[tuple[np.ndarray, int]]:
        """The remaining pictures, when no more frames follow, or frames of another kind."""
        if self._graph is None:
            return []
        self._graph.push(None)
        left, self._graph = self._pull(), None
        return left

    def _layout_of(self, frame: av.VideoFrame) -> Layout:
        if frame.width * frame.height > MOST_PIXELS:
            raise UserError(
                f"{self._path}: claims {frame.width} x {frame.height} pixels, more than {MOST_PIXELS} "
                "are not read"
            )
        colour = Colour(
            int(frame.colorspace),
            int(frame.color_primaries),
            int(frame.color_trc),
            int(frame.color_range) == _JPEG_RANGE or frame.format.name.startswith("yuvj"),
        )
        if frame.interlaced_frame and not self._asked:
            self._asked, self._order = True, field_order(self._path)
            if self._order is not None:
                self._note("the video is interlaced, its frames were deinterlaced")
        interlaced = bool(frame.interlaced_frame) and self._order is not None
        return Layout(frame.width, frame.height, frame.format.name, colour, interlaced)

    def _begin(self, frame: av.VideoFrame, layout: Layout) -> None:
        self._size, self.colour = (layout.width, layout.height), layout.colour
        self._peak = _peak(frame)
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
        turn = UPRIGHT if matrix is None else turn_of(bytes(matrix))
        if turn is None:
            self._note("the file asks for a turn that is not a quarter one, which was left out")
        self.turn = turn or UPRIGHT
        lost = [*layout.colour.lost(), *_lost_samples(frame.format), *_lost_transparency(frame)]
        if lost:
            self._note(f"the result holds less than the original: {', '.join(lost)}")

    def _graph_for(self, layout: Layout, base: Fraction) -> av.filter.Graph:
        try:
            matrix = matrix_name(layout.colour, layout.width, layout.height)
        except ValueError as error:
            raise UserError(f"{self._path}: {error}; convert the video to BT.709") from None
        graph = av.filter.Graph()
        span = "pc" if layout.colour.full else "tv"
        chain = [
            graph.add(
                "buffer",
                f"video_size={layout.width}x{layout.height}:pix_fmt={layout.pixels}:pixel_aspect=1/1:"
                f"time_base={base.numerator}/{base.denominator}",
            )
        ]
        if layout.interlaced:
            chain.append(graph.add("bwdif", f"mode=send_frame:parity={self._order}:deint=all"))
        width, height = self._size
        chain.append(
            graph.add(
                "scale",
                f"w={width}:h={height}:in_color_matrix={matrix}:in_range={span}:out_range=pc:{EXACT}",
            )
        )
        chain.append(graph.add("format", "rgb48le" if layout.colour.wide else "rgb24"))
        chain.append(graph.add("buffersink"))
        for first, second in zip(chain, chain[1:]):
            first.link_to(second)
        graph.configure()
        self._base = base
        return graph

    def _pull(self) -> list[tuple[np.ndarray, int]]:
        pictures = []
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return pictures
            picture = frame.to_ndarray()
            if picture.dtype == np.uint16:
                picture = to_ordinary(picture, self._layout.colour, self._peak)
            # A deinterlacer counts in half units.
            time = round(frame.pts * frame.time_base / self._base)
            pictures.append((turned(picture, self.turn), time))

    def _note(self, words: str) -> None:
        if words not in self.notes:
            self.notes.append(words)


def _lost_samples(kind: av.VideoFormat) -> list[str]:
    """What is lost of a pixel format in 8 bits and 4:2:0, as text."""
    bits = max(component.bits for component in kind.components)
    lost = [f"{bits} bits a channel become 8"] * (bits > 8)
    if not kind.is_rgb and len(kind.components) > 2 and kind.chroma_height(2) == 2:
        full = kind.chroma_width(2) == 2
        lost.append(f"colour resolution {'4:4:4' if full else '4:2:2'} becomes 4:2:0")
    return lost


def _lost_transparency(frame: av.VideoFrame) -> list[str]:
    if not any(component.is_alpha for component in frame.format.components):
        return []
    opaque = frame.reformat(format="rgba").to_ndarray()[..., 3].min() == 255
    return [] if opaque else ["transparency is dropped"]


def _peak(frame: av.VideoFrame) -> float:
    """Luminance of the brightest light in cd/m2 that the file states, or the usual one."""
    light = frame.side_data.get(Type.CONTENT_LIGHT_LEVEL)
    stated = struct.unpack_from("=I", bytes(light))[0] if light is not None else 0
    return float(min(max(stated, REFERENCE_WHITE), MOST_NITS)) if stated else HLG_PEAK
