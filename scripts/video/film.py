"""How the pictures of a clip are shown: when, in which colours, in which shape."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from scripts.video.colour import Colour


@dataclass(frozen=True)
class Film:
    """times: of each picture, in units of `base` seconds; end: of the last one's end; rate: pictures a
    second on average; colour: what the original says of its colours; aspect: width of a pixel by its
    height."""

    times: list[int]
    base: Fraction
    end: int
    rate: float
    colour: Colour
    aspect: Fraction = Fraction(1)

    def as_record(self) -> dict[str, Any]:
        """As values that JSON holds."""
        colour = self.colour
        return {
            "base": str(self.base),
            "end": self.end,
            "rate": self.rate,
            "colour": [colour.matrix, colour.primaries, colour.transfer, colour.full],
            "aspect": str(self.aspect),
            "times": self.times,
        }


def film_of(record: dict[str, Any]) -> Film:
    """The inverse of `as_record`. Raises KeyError, TypeError or ValueError for anything else."""
    times = [int(time) for time in record["times"]]
    return Film(
        times,
        Fraction(record["base"]),
        int(record["end"]),
        float(record["rate"]),
        Colour(*record["colour"]),
        Fraction(record["aspect"]),
    )
