"""How the cost of each unit grows with the size of a frame, with steps and with frames."""

from collections.abc import Iterator
from dataclasses import replace

from scripts.benchmarking.units import FORMS, RESTORED, Given, Run, raft_ours, restoring
from scripts.benchmarking.workload import halved


def growth(given: Given) -> Iterator[tuple[str, str, float]]:
    """(unit, what is varied, seconds): with half the size in each direction, and there with steps and
    frames."""
    small = replace(given, workload=halved(given.workload))
    small_size = f"{small.workload.width} x {small.workload.height}"
    for key, name in (
        ("bme:ours", "BME, a frame"),
        ("raft:ours", "RAFT, a pair"),
        ("unet:ours", "UNet, a step of a crop"),
        ("window:ours", "ESTRNN, a window"),
    ):
        for setting in (small, given):
            side = (
                (setting.workload.context,) * 2
                if key == "unet:ours"
                else (setting.workload.width, setting.workload.height)
            )
            yield name, f"{side[0]} x {side[1]}", _second(FORMS[key](setting))
    for factor in (1, 2, 4):
        varied = replace(
            small, workload=replace(small.workload, updates=factor * given.workload.updates // 2)
        )
        yield (
            f"RAFT, a pair of {small_size}",
            f"{varied.workload.updates} updates",
            _second(raft_ours(varied)),
        )
    for count in (RESTORED // 2, RESTORED, 2 * RESTORED):
        yield f"ESTRNN, a video of {small_size}", f"{count} frames", _second(restoring(small, count)) * count


def _second(run: Run) -> float:
    run.seconds()
    return run.seconds()
