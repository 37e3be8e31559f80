"""Where stage 1's magnitude maps come from, and the scores that regions are chosen by: built in or your own."""

from collections.abc import Callable

import numpy as np
from torch import nn

from common.checkpoints import load_into
from common.config import RsdmConfig, require
from common.errors import UserError
from common.runtime import plugins
from RSDM.bme.model import BlurMagnitudeEstimator

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(frame uint8 RGB (H, W, 3), magnitude map float32 (H, W)) -> score (H, W), the lower the sharper. The search
for a threshold looks at 0 to 1."""


def magnitude(frame: np.ndarray, magnitude_map: np.ndarray) -> np.ndarray:
    """The published score: the magnitude map itself, in units of 205 pixels."""
    return magnitude_map


SCORES: dict[str, Score] = {"magnitude": magnitude}


def check_weights(config: RsdmConfig) -> None:
    """UserError where BME has no weights. A custom estimator may need none."""
    if not plugins.is_own(config.estimator):
        require(config.weights, "rsdm.weights", "BME weights, see README.md (Published weights)")


def load_estimator(config: RsdmConfig) -> nn.Module:
    """The network of rsdm.estimator with its weights: BGR (B, 3, H, W) in [0, 1] -> (B, 1, H, W), the blur's
    length in units of 205 pixels. A custom class is built without arguments."""
    if plugins.is_own(config.estimator):
        try:
            network = plugins.load(config.estimator, "rsdm.estimator")()
        except (TypeError, ValueError) as error:
            words = str(error)
            raise UserError(words if words.startswith("rsdm") else f"rsdm.estimator: {words}") from None
        if not isinstance(network, nn.Module):
            raise UserError(f"rsdm.estimator: {config.estimator} is no torch module")
    else:
        try:
            network = BlurMagnitudeEstimator(config.backbone, config.width)
        except ValueError as error:
            raise UserError(f"rsdm.{error}") from None
    if config.weights is not None:
        load_into(network, config.weights)
    return network


def load_score(config: RsdmConfig) -> Score:
    """The function that rsdm.score names; UserError where it cannot be loaded."""
    if config.score in SCORES:
        return SCORES[config.score]
    try:
        return plugins.load(config.score, "rsdm.score")
    except ValueError as error:
        raise UserError(str(error)) from None


def scored(score: Score, name: str, frame: np.ndarray, magnitude_map: np.ndarray) -> np.ndarray:
    """The score map float32 (H, W) of a frame; UserError unless it is finite and of the frame's size."""
    found = np.asarray(score(frame, magnitude_map), np.float32)
    if found.shape != magnitude_map.shape or not np.isfinite(found).all():
        raise UserError(
            f"rsdm.score: {name} has to return finite values {magnitude_map.shape} for a frame "
            f"{frame.shape}, found {found.shape}"
        )
    return found
