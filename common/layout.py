"""Where everything lies below the folder of all results, which configurations call `output`.

`video` is a video's name, `frame` a frame's name without ending. What the files hold is told by the stage that writes
them.
"""

from dataclasses import dataclass
from pathlib import Path

SETTINGS, CONFIG, RUN = "settings.json", "config.yaml", "run.json"
"""In every folder of results: what they depend on, the whole configuration, and how they were made
(`common.runtime.provenance`)."""
LAST, BEST, LOG = "last.pth", "best.pth", "log.csv"
"""In a training's folder: all that a restart needs, the best weights, the figures (`common.training.loop`)."""
BASELINE, ADAPTED, ADAPTED_BEST_GT = "baseline", "adapted", "adapted_best_gt"
ALIGNED, FUSED = "aligned", "fused"
VARIANTS = (BASELINE, ADAPTED, ADAPTED_BEST_GT, ALIGNED, FUSED)
"""Stage 4's results, by the names of their folders. `aligned` is what was borrowed from sharp frames."""
REHEARSAL = "rehearsal"
"""The unadapted result on the frames with regions, which fine-tuning rehearses (deblurring.rehearsal) and takes targets
from (deblurring.targets)."""
PICTURE, WEIGHT, SOURCE = "picture", "weight", "source"
"""What there is of each frame in the folder `aligned`."""


@dataclass(frozen=True)
class Layout:
    """The files below `output`."""

    output: Path

    @property
    def rsdm(self) -> Path:
        """Stage 1's folder."""
        return self.output / "rsdm"

    @property
    def sharp_regions(self) -> Path:
        """The chosen boxes of all videos."""
        return self.rsdm / "sharp_regions.json"

    @property
    def magnitudes(self) -> Path:
        """Folder of the magnitude maps."""
        return self.rsdm / "magnitude"

    def magnitude(self, video: str, frame: str) -> Path:
        """A frame's magnitude map."""
        return self.magnitudes / video / f"{frame}.npy"

    def score(self, video: str, frame: str) -> Path:
        """A frame's map of an own score."""
        return self.rsdm / "score" / video / f"{frame}.npy"

    def mask(self, video: str, frame: str) -> Path:
        """Where a frame is sharp."""
        return self.rsdm / "mask" / video / f"{frame}.png"

    @property
    def dbcgm(self) -> Path:
        """Stage 2's folder."""
        return self.output / "dbcgm"

    @property
    def conditions(self) -> Path:
        """Folder of the blur conditions."""
        return self.dbcgm / "condition"

    def condition(self, video: str, frame: str) -> Path:
        """A frame's blur condition."""
        return self.conditions / video / f"{frame}.npy"

    def motion(self, video: str, frame: str) -> Path:
        """A frame's motion."""
        return self.dbcgm / "motion" / video / f"{frame}.npy"

    @property
    def previews(self) -> Path:
        """Folder of the conditions as colours."""
        return self.dbcgm / "preview"

    def preview(self, video: str, frame: str) -> Path:
        """A frame's condition as colours."""
        return self.previews / video / f"{frame}.png"

    def shutter(self, video: str) -> Path:
        """How long a video exposes."""
        return self.dbcgm / "shutter" / f"{video}.json"

    @property
    def blurring(self) -> Path:
        """Stage 3's folder."""
        return self.output / "blurring"

    def original(self, video: str, frame: str) -> Path:
        """A frame that was reblurred, as it was."""
        return self.blurring / video / "ori" / f"{frame}.png"

    def reblurred(self, video: str, frame: str) -> Path:
        """A frame with its regions blurred."""
        return self.blurring / video / "reblur" / f"{frame}.png"

    def blurred_with(self, video: str, frame: str) -> Path:
        """The condition that a frame was reblurred with, as colours."""
        return self.blurring / video / "flow" / f"{frame}.png"

    def targets(self, video: str) -> Path:
        """Folder of the targets without noise, where there are any."""
        return self.blurring / video / "target"

    def target(self, video: str, frame: str) -> Path:
        """A frame with its regions without noise."""
        return self.targets(video) / f"{frame}.png"

    def kernels(self, video: str, frame: str) -> Path:
        """A frame's own blur, as measured."""
        return self.blurring / video / "kernels" / f"{frame}.npy"

    def windows(self, video: str, frame: str) -> Path:
        """Folder of a frame's windows that were written as a whole, one folder for each copy."""
        return self.blurring / video / "window" / frame

    def window_picture(self, video: str, frame: str, copy: int, index: int) -> Path:
        """Picture number `index`, 0 to 4, of a frame's window number `copy`."""
        return self.windows(video, frame) / str(copy) / f"{index}.png"

    @property
    def deblurring(self) -> Path:
        """Stage 4's folder."""
        return self.output / "deblurring"

    def network(self, model: str) -> "NetworkLayout":
        """Stage 4's files of one network (deblurring.model); an own one's folder has the name of its class."""
        return NetworkLayout(self.deblurring / model.rpartition(":")[2])

    @property
    def times(self) -> Path:
        """How long each stage has worked."""
        return self.output / "times.json"

    @property
    def inputs(self) -> Path:
        """What is known of the input's files."""
        return self.output / "inputs.json"

    @property
    def report(self) -> Path:
        """The page about everything."""
        return self.output / "report.html"

    @property
    def clip(self) -> Path:
        """What scripts/deblur_video.py read."""
        return self.output / "clip.json"

    @property
    def frames(self) -> Path:
        """The data set of what scripts/deblur_video.py read."""
        return self.output / "frames"

    @property
    def delivery(self) -> Path:
        """Which files scripts/deblur_video.py delivered."""
        return self.output / "result.json"

    def delivered(self, clip: str) -> Path:
        """Folder of the images that scripts/deblur_video.py delivered for a folder of images."""
        return self.output / "restored" / clip


@dataclass(frozen=True)
class NetworkLayout:
    """Stage 4's files of one network, below `folder`."""

    folder: Path

    @property
    def name(self) -> str:
        """The network's name."""
        return self.folder.name

    @property
    def weights(self) -> Path:
        """Folder of the adapted weights; with deblurring.scope video it has one folder a video."""
        return self.folder / "weights"

    def variant(self, name: str) -> Path:
        """Folder of one result: one of VARIANTS, or REHEARSAL."""
        return self.folder / name

    @property
    def metrics(self) -> Path:
        """PSNR and SSIM of all results."""
        return self.folder / "metrics.json"

    @property
    def comparison(self) -> Path:
        """The picture of scripts/compare.py."""
        return self.folder / "comparison.png"


def borrowed_file(aligned: Path, kind: str, video: str, frame: str) -> Path:
    """What was borrowed for a frame; kind: PICTURE, WEIGHT or SOURCE. aligned: the folder of all of it."""
    return aligned / video / kind / f"{frame}.png"


def restored_file(folder: Path, video: str, frame: str) -> Path:
    """A frame of the result in the folder of a variant; it is a PNG file whatever the input is."""
    if folder.name == ALIGNED:
        return borrowed_file(folder, PICTURE, video, frame)
    return folder / video / f"{frame}.png"
