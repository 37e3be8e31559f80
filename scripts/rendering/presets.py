"""Named domains: one source and three targets that differ from it in shutter, light, noise and motion."""
from dataclasses import dataclass

import numpy as np

from scripts.rendering.camera import Shake
from scripts.rendering.exposure import Sensor

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
    "source": Preset(Shake(1.0, 0.6, (0.06, 0.14), ANY_DIRECTION, 0.008, 0.005, 0.6, 0.15), (5.0, 22.0),
                     Sensor((0.5, 1.0), 11, False, 2.2, 0.002, 0.004), 2),
    "target_short": Preset(Shake(1.0, 0.10, (0.11, 0.14), MOSTLY_LEVEL, 0.004, 0.002, 0.2, 0.45), (20.0, 24.0),
                           Sensor((0.5, 0.5), 33, True, 2.2, 0.010, 0.020), 0),
    "target_mid": Preset(Shake(1.0, 0.12, (0.09, 0.12), ANY_DIRECTION, 0.006, 0.003, 0.3, 0.45), (16.0, 20.0),
                         Sensor((0.7, 0.7), 33, True, 2.0, 0.008, 0.016), 0),
    "target_long": Preset(Shake(1.0, 0.10, (0.07, 0.10), (1.2, 1.9), 0.005, 0.003, 0.3, 0.45), (14.0, 17.0),
                          Sensor((0.9, 0.9), 33, True, 2.4, 0.005, 0.010), 0),
}
