"""Videos in which there is nothing to see, nothing that moves, nothing blurred or nothing sharp."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tiny
import torch
from faults.trials import Case

from common.images import read_image, write_image

PIPELINE = "faults.pipeline"


def degenerate(seed: int) -> Iterator[Case]:
    """All cases of this file; the same seed gives the same. Those with regions run through all four stages
    and end with finite files; where there is none, stage 1 says so."""
    rng = np.random.default_rng(seed)
    height, width = tiny.SIZE
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pictures: dict[str, Callable[[int, np.ndarray], np.ndarray]] = {
        "without motion": lambda index, first: first,
        "without texture": lambda index, first: np.full_like(first, 128),
        "fully black": lambda index, first: np.zeros_like(first),
        "fully white": lambda index, first: np.full_like(first, 255),
        "of noise": lambda index, first: rng.integers(0, 256, first.shape, dtype=np.uint8),
        "of the same noise": lambda index, first: noise,
        "that flashes": lambda index, first: np.full_like(first, 255 * (index % 2)),
        "with one bright pixel": lambda index, first: dot(first, index),
        "of stripes": lambda index, first: np.broadcast_to(
            (255 * (np.arange(width) // 4 % 2)).astype(np.uint8)[None, :, None], first.shape
        ).copy(),
    }
    sharpness: dict[str, tuple[float, float] | None] = {
        "": None,
        "everything sharp": (0.0, 0.0),
        "nothing sharp": (0.0, 2.0),
        "magnitudes below zero": (0.0, -1.0),
    }
    for name, picture in pictures.items():
        for how, constant in sharpness.items():
            yield Case(
                "videos",
                f"{name}{', ' * bool(how)}{how}",
                PIPELINE,
                arranged(picture, constant),
                ("rsdm.min_size",),
                either=how != "nothing sharp",
            )
    for how, constant in list(sharpness.items())[1:]:
        yield Case(
            "videos",
            how,
            PIPELINE,
            arranged(None, constant),
            ("rsdm.min_size",) if how == "nothing sharp" else None,
        )


def dot(first: np.ndarray, index: int) -> np.ndarray:
    picture = np.zeros_like(first)
    picture[10 + index, 20 + index] = 255
    return picture


def arranged(
    picture: Callable[[int, np.ndarray], np.ndarray] | None, constant: tuple[float, float] | None
) -> Callable[[Path], None]:
    """An arrangement: all frames and their ground truth replaced; BME's last layer made constant (weight,
    bias)."""

    def act(folder: Path) -> None:
        if picture is not None:
            for video in tiny.VIDEOS:
                first = read_image(folder / "data" / video / "Blur" / "RGB" / "8.png")
                for index in range(tiny.FRAMES):
                    made = picture(index, first)
                    for kind in ("Blur", "Sharp"):
                        write_image(folder / "data" / video / kind / "RGB" / f"{8 + index}.png", made)
        if constant is not None:
            path = folder / "weights" / "bme.pth"
            state = torch.load(path, weights_only=True)
            state["classifier.weight"].fill_(constant[0])
            state["classifier.bias"].fill_(constant[1])
            torch.save(state, path)

    return act
