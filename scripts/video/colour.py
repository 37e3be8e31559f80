"""Colours of video files: what their tags mean, and wide or bright colours brought down to BT.709.

Numbers of matrices, primaries and transfer functions are those of ITU-T H.273, which files store as they are.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

UNKNOWN, BT709, PQ, HLG, SRGB = 2, 1, 16, 18, 13
_RGB = 0
MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
"""Matrices that can be read and written, by the names of FFmpeg's scale filter."""
_OTHER_MATRICES = {8: "YCgCo", 10: "BT.2020 with constant luminance", 14: "ICtCp"}
_WHITE = 0.3127, 0.3290
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _WHITE),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _WHITE),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _WHITE),
}
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_BRIGHT = {PQ: "PQ", HLG: "HLG"}
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_DISPLAY_GAMMA = 2.4
"""BT.1886: what a display makes of BT.709's signal."""
_HD_LINES, _HD_COLUMNS = 720, 1280
REFERENCE_WHITE, HLG_PEAK, MOST_NITS = 203.0, 1000.0, 10000.0
"""Luminances in cd/m2: white of ordinary pictures within bright ones (BT.2408), of an HLG display (BT.2100),
and of PQ's largest value."""


@dataclass(frozen=True)
class Colour:
    """What a file says of its colours, as numbers of H.273. full: values from 0 to 255, not 16 to 235."""

    matrix: int = UNKNOWN
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN
    full: bool = False

    @property
    def wide(self) -> bool:
        """Whether pictures have to be brought down to BT.709 to look right on an ordinary display."""
        return self.primaries in _WIDE or self.transfer in _BRIGHT

    def lost(self) -> list[str]:
        """How wide and bright colours are converted, as text."""
        bright = [f"{_BRIGHT[self.transfer]}'s high dynamic range"] if self.transfer in _BRIGHT else []
        wide = [f"{_WIDE[self.primaries]}'s colours"] if self.primaries in _WIDE else []
        return [f"{what} become{'s' * (what in bright)} BT.709's" for what in bright + wide]


def matrix_name(colour: Colour, width: int, height: int) -> str:
    """The matrix of a picture by the name of FFmpeg's scale filter; where it is not stated, the one that
    players assume: that of the primaries, otherwise BT.709 for high definition and BT.601 below.

    Raises ValueError, with a message for the user, for matrices that are not read.
    """
    if colour.matrix in MATRICES:
        return MATRICES[colour.matrix]
    if colour.matrix not in (_RGB, UNKNOWN):
        name = _OTHER_MATRICES.get(colour.matrix, f"number {colour.matrix} of H.273")
        raise ValueError(f"its colours are stored by the matrix {name}, which is not read")
    if colour.primaries in _PRIMARIES or colour.primaries in MATRICES:
        return "bt2020" if colour.primaries == 9 else MATRICES.get(colour.primaries, "bt709")
    return "bt709" if min(width, height) >= _HD_LINES or max(width, height) >= _HD_COLUMNS else "bt601"


def written_colour(colour: Colour) -> Colour:
    """The colour of pictures that were read from a file, for the tags of the file that is made of them.

    Ordinary ones keep their tags, unknown ones stay unknown: players that guess then guess the same for both.
    """
    if colour.wide:
        bright = colour.transfer in _BRIGHT or colour.transfer in (14, 15, UNKNOWN)
        return Colour(BT709, BT709, BT709 if bright else colour.transfer, False)
    return replace(colour, matrix=BT709 if colour.matrix == _RGB else colour.matrix, full=False)


def to_ordinary(picture: np.ndarray, colour: Colour, peak: float) -> np.ndarray:
    """Wide or bright colours, uint16 (H, W, 3) of `colour`, as uint8 (H, W, 3) of BT.709's primaries.

    peak: cd/m2 of the brightest value (PQ only). Bright pictures are mapped by BT.2390's curve, of the
    largest of the three values, so that hues stay; what then lies outside of BT.709 is cut off.
    """
    linear = _linear(colour.transfer)[picture]
    if colour.transfer == HLG:
        # BT.2100: the display's gamma of 1.2 is one of luminance.
        luminance = linear @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        linear *= HLG_PEAK * luminance[..., None] ** np.float32(0.2)
        peak = HLG_PEAK
    if colour.transfer in _BRIGHT:
        places, ratios = _curve(peak)
        linear *= np.interp(linear.max(axis=-1), places, ratios).astype(np.float32)[..., None]
        linear /= REFERENCE_WHITE
    ordinary = linear @ gamut_matrix(colour.primaries if colour.primaries in _PRIMARIES else 9).T.astype(
        np.float32
    )
    encoded = _encode(ordinary.clip(0, 1), colour.transfer)
    return (255 * encoded + 0.5).astype(np.uint8)


def gamut_matrix(primaries: int) -> np.ndarray:
    """Linear RGB of these primaries -> linear RGB of BT.709, (3, 3), the white points made equal
    (Bradford)."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    source, target = (_PRIMARIES[number] for number in (primaries, BT709))
    cones = [bradford @ _xyz(*colours[3]) for colours in (source, target)]
    adapted = np.linalg.inv(bradford) @ np.diag(cones[1] / cones[0]) @ bradford
    return np.linalg.inv(_to_xyz(target)) @ adapted @ _to_xyz(source)


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def _to_xyz(colours: tuple) -> np.ndarray:
    columns = np.stack([_xyz(*place) for place in colours[:3]], axis=1)
    return columns * np.linalg.solve(columns, _xyz(*colours[3]))


def pq_light(code: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: signal in [0, 1] -> cd/m2."""
    root = np.maximum(code, 0) ** (32 / 2523)
    return MOST_NITS * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (16384 / 2610)


def pq_code(light: np.ndarray) -> np.ndarray:
    """The inverse of pq_light."""
    power = (np.maximum(light, 0) / MOST_NITS) ** (2610 / 16384)
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** (2523 / 32)


def hlg_scene(code: np.ndarray) -> np.ndarray:
    """BT.2100: HLG's signal in [0, 1] -> light of the scene in [0, 1]."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def tone_mapped(light: np.ndarray, peak: float) -> np.ndarray:
    """BT.2390's curve from a display of `peak` to one of REFERENCE_WHITE, both in cd/m2."""
    top = pq_code(np.array(max(peak, REFERENCE_WHITE + 1)))
    code, most = np.minimum(pq_code(light) / top, 1), float(pq_code(np.array(REFERENCE_WHITE)) / top)
    knee = 1.5 * most - 0.5
    t = (code - knee) / (1 - knee)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    )
    return pq_light(np.where(code < knee, code, bent) * top)


@lru_cache(maxsize=4)
def _curve(peak: float) -> tuple[np.ndarray, np.ndarray]:
    """Luminances and by what each is multiplied."""
    places = pq_light(np.linspace(0, 1, 4096))[1:]
    return places, tone_mapped(places, peak) / places


@lru_cache(maxsize=4)
def _linear(transfer: int) -> np.ndarray:
    """Light, float32 (65536,), of each 16-bit value: in cd/m2 of PQ, of the scene of HLG, otherwise
    relative."""
    code = np.arange(65536) / 65535
    if transfer == PQ:
        light = pq_light(code)
    elif transfer == HLG:
        light = hlg_scene(code)
    elif transfer == SRGB:
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    else:
        light = code ** _GAMMAS.get(transfer, _DISPLAY_GAMMA)
    return light.astype(np.float32)


def _encode(light: np.ndarray, transfer: int) -> np.ndarray:
    """Light in [0, 1] -> signal, by the curve of `written_colour`."""
    if transfer == SRGB:
        return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return light ** np.float32(1 / _GAMMAS.get(transfer, _DISPLAY_GAMMA))
