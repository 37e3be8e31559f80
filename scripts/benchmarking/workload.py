"""The standard workload, and a tiny one that shows in seconds that everything runs."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Workload:
    """What is computed: frame size, how often each unit runs, and the networks.

    frames, thresholds, regions: one video's frames, steps of the threshold search, chosen regions, one a
    frame. box, margin: side of a region and context around it, pixels. updates: of RAFT. steps: of DDIM.
    fewer_steps: of DPM-Solver++(2M). long_clip: frames fed together where not five are. crop, windows: side and
    number of the windows in a fine-tuning step that is timed; pairs_a_step, epochs: of the whole fine-tuning.
    clip: frames of the clip that is really run. runs: timed runs, the median of which counts; fewer where they
    take longer than `patience` seconds together, and none but the first, which warms up, where that one does.
    bme, unet, estrnn: architecture keywords, {} the published networks.
    """

    width: int = 640
    height: int = 480
    frames: int = 150
    thresholds: int = 12
    regions: int = 30
    box: int = 256
    margin: int = 32
    updates: int = 20
    steps: int = 20
    fewer_steps: int = 10
    long_clip: int = 20
    crop: int = 256
    windows: int = 2
    pairs_a_step: int = 8
    epochs: int = 10
    clip: int = 8
    runs: int = 3
    patience: float = 30.0
    flow: str = "raft_large"
    bme: dict[str, Any] = field(default_factory=dict)
    unet: dict[str, Any] = field(default_factory=dict)
    estrnn: dict[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> int:
        """Side of the crop that is sampled for a region."""
        return min(self.box + 2 * self.margin, self.height, self.width)

    @property
    def fine_tuning_units(self) -> int:
        """How often the timed fine-tuning step goes into the whole fine-tuning."""
        steps = -(-self.regions // self.pairs_a_step) * self.epochs
        return steps * self.pairs_a_step // self.windows

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for a process of its own."""
        return asdict(self)


STANDARD = Workload()
QUICK = Workload(
    width=160,
    height=128,
    frames=12,
    thresholds=3,
    regions=2,
    box=96,
    margin=16,
    updates=2,
    steps=2,
    fewer_steps=1,
    long_clip=8,
    crop=64,
    pairs_a_step=2,
    epochs=1,
    clip=8,
    runs=2,
    patience=2.0,
    flow="raft_small",
    bme={"backbone": "resnet10_slim", "width": 8},
    unet={"base_channels": 8, "channel_mults": [1, 2], "num_res_blocks": 1, "time_dim": 16},
    estrnn={"n_features": 4, "n_blocks": 1},
)


def halved(workload: Workload) -> Workload:
    """The same with half the width and height, regions too."""
    return replace(
        workload,
        width=workload.width // 2,
        height=workload.height // 2,
        box=workload.box // 2,
        margin=workload.margin // 2,
        crop=workload.crop // 2,
    )
