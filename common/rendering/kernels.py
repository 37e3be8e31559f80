"""The blur between two pictures of the same scene, measured instead of assumed.

For each of many overlapping blocks, linear least squares finds the kernel that turns the sharp picture into
the blurry one. The kernel's width says whether the blurry picture is the blurrier of the two (noise does
not pass for sharpness), its centre of mass what is left of the motion between them, and what it leaves
unexplained whether the two show the same thing. Blocks overlap by half and their Hann windows add up to
one, so no seams appear.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SIDE, STRIDE = 96, 48
"""Pixels of a block and from one block to the next."""
KERNEL = 31
"""Side of a kernel: strokes of up to so many pixels are measured."""
LEAST_PART = 0.2
"""Values below this part of a kernel's largest are noise of the measurement."""
NEIGHBOURS = 0.3
"""How much the eight blocks around count in a block's kernel: without texture, it is theirs."""
_WINDOW_1D = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE) ** 2
WINDOW = np.outer(_WINDOW_1D, _WINDOW_1D).astype(np.float32)
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class Kernels:
    """Kernels of a picture's blocks, R rows of C blocks.

    values: float32 (R, C, KERNEL, KERNEL), each not negative and of sum 1 (0 where none was found). centre:
    float32 (R, C, 2), x and y of the centre of mass from the middle, pixels. spread: float32 (R, C), root
    mean square distance from the centre of mass, pixels.
    """

    values: np.ndarray
    centre: np.ndarray
    spread: np.ndarray


def noise_level(grey: np.ndarray) -> float:
    """Standard deviation of the noise in a picture (H, W), by the median of a mask that cancels edges.

    Source: Immerkaer, Fast noise variance estimation, 1996, with the median in place of the mean.
    """
    return float(np.median(np.abs(cv2.filter2D(grey, -1, _NOISE_MASK))) / 0.6745 / 6)


def gradients(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of (H, W) along x and along y, both (H, W)."""
    row = np.array([[-0.5, 0, 0.5]], np.float32)
    return cv2.filter2D(grey, -1, row), cv2.filter2D(grey, -1, row.T)


def cut(picture: np.ndarray) -> np.ndarray:
    """The blocks of a picture (H, W), mirrored at its border: (R, C, SIDE, SIDE), a read-only view.

    Block (0, 0) has its middle in the picture's first pixel; the last row and column reach the end.
    """
    height, width = picture.shape
    rows, columns = shape(height, width)
    bottom, right = rows * STRIDE - height, columns * STRIDE - width
    padded = cv2.copyMakeBorder(picture, STRIDE, bottom, STRIDE, right, cv2.BORDER_REFLECT_101)
    return np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE))[::STRIDE, ::STRIDE]


def shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of blocks of a picture."""
    return -(-height // STRIDE) + 1, -(-width // STRIDE) + 1


def paste(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture (H, W) that blocks (R, C, SIDE, SIDE) make, blended by their windows."""
    rows, columns = blocks.shape[:2]
    picture = np.zeros(((rows + 1) * STRIDE, (columns + 1) * STRIDE), np.float32)
    weighted = blocks * WINDOW
    for row in range(rows):
        for column in range(columns):
            top, left = row * STRIDE, column * STRIDE
            picture[top : top + SIDE, left : left + SIDE] += weighted[row, column]
    return picture[STRIDE : STRIDE + height, STRIDE : STRIDE + width]


def at_pixels(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A value a block (R, C) as a smooth picture (H, W): linear between the blocks' middles."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / STRIDE
    return cv2.remap(values.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def spectra(grey: np.ndarray, seen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Fourier transforms of the blocks of the gradients of `grey` (H, W), counted only where `seen` is 1:
    complex64 (R, C, SIDE, SIDE // 2 + 1) along x and along y."""
    parts = gradients(grey) if seen is None else [part * seen for part in gradients(grey)]
    return tuple(np.fft.rfft2(cut(part) * WINDOW) for part in parts)


def kernels_between(
    sharp: tuple[np.ndarray, np.ndarray],
    blurry: tuple[np.ndarray, np.ndarray],
    noise: float,
) -> Kernels:
    """The kernels that turn one picture into another that shows the same scene at the same places.

    sharp, blurry: the `spectra` of the two: every edge counts, brightness does not. noise: its standard
    deviation in both pictures.
    """
    against = sum(np.conj(s) * b for s, b in zip(sharp, blurry))
    power = sum(s.real**2 + s.imag**2 for s in sharp)
    ridge = 9 * (noise**2 + 0.03) * float((WINDOW**2).sum())
    found = np.fft.irfft2(_with_neighbours(against) / (_with_neighbours(power) + ridge), s=(SIDE, SIDE))
    half = KERNEL // 2
    found = np.roll(found, (half, half), axis=(2, 3))[..., :KERNEL, :KERNEL]
    return described(np.stack([np.stack([_cleaned(kernel) for kernel in row]) for row in found]))


def described(values: np.ndarray) -> Kernels:
    """Kernels (R, C, KERNEL, KERNEL) with their centres and spreads."""
    half = KERNEL // 2
    place = np.arange(-half, half + 1, dtype=np.float32)
    centre = np.stack([(values * place).sum((2, 3)), (values * place[:, None]).sum((2, 3))], axis=-1)
    square = (values * (place**2 + place[:, None] ** 2)).sum((2, 3)) - (centre**2).sum(-1)
    return Kernels(values, centre, np.sqrt(np.maximum(square, 0)))


def blur(picture: np.ndarray, kernels: Kernels) -> np.ndarray:
    """`picture` float32 (H, W) blurred by its blocks' kernels, each moved so that it moves nothing."""
    padded = np.zeros((*kernels.values.shape[:2], SIDE, SIDE), np.float32)
    padded[..., :KERNEL, :KERNEL] = kernels.values
    offset = KERNEL // 2 + kernels.centre[..., None]
    along_x, along_y = (
        np.exp(2j * np.pi * frequency.astype(np.float32) * offset[:, :, axis])
        for axis, frequency in enumerate((np.fft.rfftfreq(SIDE), np.fft.fftfreq(SIDE)))
    )
    spectrum = np.fft.rfft2(cut(picture)) * np.fft.rfft2(padded) * along_x[:, :, None] * along_y[..., None]
    return paste(np.fft.irfft2(spectrum, s=(SIDE, SIDE)), *picture.shape)


def _with_neighbours(values: np.ndarray) -> np.ndarray:
    """(R, C, ...) with the sum over the 3 x 3 blocks around each added at the weight NEIGHBOURS."""
    rows, columns = values.shape[:2]
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0), (0, 0)))
    lines = sum(padded[i : i + rows] for i in range(3))
    return values + NEIGHBOURS * sum(lines[:, i : i + columns] for i in range(3))


def _cleaned(kernel: np.ndarray) -> np.ndarray:
    """The heaviest connected part of the kernel's clear values, of sum 1; all 0 where there is none."""
    kernel = np.where(kernel > LEAST_PART * max(float(kernel.max()), 0), kernel, 0).astype(np.float32)
    count, parts = cv2.connectedComponents((kernel > 0).astype(np.uint8), connectivity=8)
    if count > 2:
        sums = np.bincount(parts.ravel(), kernel.ravel(), count)
        sums[0] = 0
        kernel = np.where(parts == sums.argmax(), kernel, 0)
    return kernel / max(float(kernel.sum()), 1e-9)
