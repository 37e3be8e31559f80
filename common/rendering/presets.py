"""Named domains: one source (in two strengths) and three targets that differ from it in shutter, light, noise
and motion."""

from dataclasses import dataclass

import numpy as np

from common.rendering.camera import Shake
from common.rendering.exposure import Sensor

ANY_DIRECTION = (0.0, np.pi)
MOSTLY_LEVEL = (-0.35, 0.35)


@dataclass(frozen=True)
class Preset:
    """A domain: camera motion (speeds in pixels per frame at a width of 384 pixels), sensor, and how many
    independently moving objects a clip may have (0 to `objects`)."""

    shake: Shake
    speeds: tuple[float, float]
    sensor: Sensor
    objects: int


PRESETS = {
    # As GoPro: long shutter, eleven gamma-encoded samples, hardly any noise, motion in every direction.
    "source": Preset(
        Shake(1.0, 0.6, (0.06, 0.14), ANY_DIRECTION, 0.008, 0.005, 0.6, 0.15),
        (2.0, 12.0),
        Sensor((0.5, 1.0), 11, False, 2.2, 0.002, 0.004),
        2,
    ),
    # The same with longer blur: what the magnitude estimator and ID-Blau are trained on.
    "source_strong": Preset(
        Shake(1.0, 0.6, (0.06, 0.14), ANY_DIRECTION, 0.008, 0.005, 0.6, 0.15),
        (5.0, 22.0),
        Sensor((0.5, 1.0), 11, False, 2.2, 0.002, 0.004),
        2,
    ),
    # Mostly straight strokes with a short rest every few frames, as a hand that corrects itself.
    "target_short": Preset(
        Shake(1.0, 0.10, (0.04, 0.07), MOSTLY_LEVEL, 0.004, 0.002, 0.0, 0.0, 4.7),
        (8.0, 10.0),
        Sensor((0.5, 0.5), 33, True, 2.2, 0.010, 0.020),
        0,
    ),
    "target_mid": Preset(
        Shake(1.0, 0.12, (0.03, 0.06), ANY_DIRECTION, 0.005, 0.003, 0.0, 0.0, 4.7),
        (6.5, 8.0),
        Sensor((0.7, 0.7), 33, True, 2.0, 0.008, 0.016),
        0,
    ),
    "target_long": Preset(
        Shake(1.0, 0.10, (0.03, 0.05), (1.2, 1.9), 0.004, 0.003, 0.0, 0.0, 5.3),
        (5.5, 7.0),
        Sensor((0.9, 0.9), 33, True, 2.4, 0.005, 0.010),
        0,
    ),
}
