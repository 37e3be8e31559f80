"""What network a weights file is, whether it loads strictly, and its SHA-256. Nothing in the file is executed. With
--data also how well an ID-Blau reblurs, and whether it reads the direction, or how well a deblurring network restores.

Reads    weights files: BME, RAFT (princeton or torchvision), ID-Blau, ESTRNN, MMP-RNN, DSTNet, Shift-Net, Window_UNet
         --data: a data set with <video>/{Blur/RGB,Sharp/RGB}/<frame>.png and Condition/<frame>.npy
Writes   --pictures FILE: blurry, restored and sharp side by side; of three videos the frame with nearest to 10 px
Usage    python scripts/check_weights.py weights/BME/best_net.pth weights/RAFT/raft-things.pth ...
         python scripts/check_weights.py weights/ID_Blau/ID_Blau.pth --data data/source_val
         python scripts/check_weights.py assets/weights/demo/window_unet.pth --data data/source_val --pictures shown.png
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import numpy as np
from torch import Tensor, nn

from BlurringModel.id_blau.diffusion import GaussianDiffusion
from BlurringModel.id_blau.unet import UNet
from BlurringModel.id_blau.validation import reblurring_figures
from BlurringModel.reblurring.sampling import load_id_blau
from common.checkpoints import load_state, load_state_into, sha256
from common.errors import UserError
from common.flow import load_flow
from common.formats.weights_keys import bare
from common.images import write_image
from common.runtime.entry import run
from common.training.source_domain import SourceDomain
from DeblurringModel import models
from DeblurringModel.validation import Restored, restored_frames, side_by_side
from RSDM.bme.model import BlurMagnitudeEstimator
from scripts.evaluation.id_blau_file import add_unsaid, sampling_of, stored_architecture, unsaid_of
from scripts.evaluation.synthetic.diagnosis import reblurring

SHOWN, SHOWN_BLUR = 3, 10.0
"""Frames that --pictures shows, and the pixels of blur that they should have."""
DEBLURRING = {
    "ESTRNN": [{}],
    "MMP_RNN": [{}, {"fusion_gate": False}],
    "DSTNet": [{}, {"num_feat": 64, "num_block": 30, "widen": True}],
    "Shift_Net": [{"variant": "plus"}, {"variant": "small"}],
    "Window_UNet": [{"channels": [32, 64, 128], "blocks": 2, "middle": 6}],
}


def main() -> None:
    """Check every file; exit code 2 when one of them fits nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="weights files")
    parser.add_argument(
        "--data", type=Path, help="data set on which an ID-Blau or a deblurring network is judged"
    )
    parser.add_argument(
        "--pictures", type=Path, help="with --data and one deblurring network: where to show what it restores"
    )
    add_unsaid(parser)
    options, unknown = parser.parse_args(), []
    if options.pictures is not None and (options.data is None or len(options.files) != 1):
        parser.error("--pictures: needs --data and one weights file")
    for path in options.files:
        match = None
        try:
            match = matching(path)
            found = name_of(path, match)
        except UserError as error:
            print(error)
            found = None
        else:
            print(f"{path}: {found or 'fits no known network'}, SHA-256 {sha256(path)}")
        if found is None:
            unknown.append(str(path))
        elif options.data is not None and match is not None:
            (label, network), data = match, SourceDomain(options.data)
            if label.startswith("ID-Blau"):
                print(judged(path, data, unsaid_of(options)))
            elif label.split()[0] in DEBLURRING:
                print(restoration(label.split()[0], network, data, options.pictures))
    if unknown:
        raise UserError(
            f"not recognised: {', '.join(unknown)}; expected layouts are in README.md (Published weights)"
        )


def identify(path: Path) -> str | None:
    """Name and architecture of the network that loads `path` strictly, or None. Raises UserError for a file
    that is damaged or would execute code."""
    return name_of(path, matching(path))


def name_of(path: Path, match: tuple[str, nn.Module] | None) -> str | None:
    """`identify`, with what `matching` found for the file."""
    if match is not None:
        return f"{match[0]}, loads strictly"
    for name in ("raft_large", "raft_small"):
        try:
            load_flow(name, path)
        except UserError:
            continue
        return f"{name}, loads strictly"
    return None


def matching(path: Path) -> tuple[str, nn.Module] | None:
    """Name and architecture of the network, RAFT apart, that loads `path` strictly, and the network with these
    weights."""
    state = bare(load_state(path))
    for label, build in candidates(state, stored_architecture(path)):
        try:
            network = build()
            load_state_into(network, state, str(path))
        except (UserError, TypeError, ValueError):
            continue
        return label, network.eval()
    return None


def judged(path: Path, data: SourceDomain, unsaid: dict[str, Any]) -> str:
    """An ID-Blau's figures on a data set, as text. unsaid: settings for what the file does not say."""
    config = sampling_of(path, unsaid)
    figures = reblurring_figures(reblurring(load_id_blau(config), data, config))
    return (
        "  against the true blur: {psnr_reblurred:.2f} dB, with the condition turned by 90 degrees {psnr_turned:.2f}, "
        "blurred along lines {psnr_line:.2f}, sharp {psnr_sharp:.2f}; with no blur asked for {psnr_still:.2f} dB "
        "against the sharp crops".format(**figures)
    )


def restoration(name: str, network: nn.Module, data: SourceDomain, pictures: Path | None) -> str:
    """What a deblurring network gains on frames of a data set, as text; shows some of them in the file `pictures`."""
    frames = list(restored_frames(network, models.spec(name), data))
    figures = [frame.figures() for frame in frames]
    blurry, restored = (np.array([row[key] for row in figures]) for key in ("psnr_blurry", "psnr"))
    gain, blurrier = restored - blurry, blurry < np.median(blurry)
    if pictures is not None:
        write_image(pictures, side_by_side(nearest(frames, data, SHOWN_BLUR)[:SHOWN]))
    return (
        f"  {len(frames)} frames, blurry {blurry.mean():.2f} dB, restored {restored.mean():.2f} dB "
        f"({gain.mean():+.2f}); the blurrier half {gain[blurrier].mean():+.2f}, "
        f"the other {gain[~blurrier].mean():+.2f}, the worst frame {gain.min():+.2f}"
    )


def nearest(frames: list[Restored], data: SourceDomain, blur: float) -> list[Restored]:
    """Of each video the frame whose mean blur is nearest to `blur` pixels, the nearest first."""
    distance = {
        id(frame): abs(float(data.condition(frame.video, frame.frame)[2].mean()) - blur) for frame in frames
    }
    best: dict[str, Restored] = {}
    for frame in sorted(frames, key=lambda frame: distance[id(frame)]):
        best.setdefault(frame.video, frame)
    return list(best.values())


def candidates(
    state: dict[str, Tensor],
    architecture: dict[str, Any],
) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Every network the state might belong to, with a function that builds it."""
    if "betas" in state:
        yield (
            f"ID-Blau {architecture or '(GoPro)'}, {len(state['betas'])} timesteps",
            lambda: GaussianDiffusion(UNet(**architecture), state["betas"]),
        )
        return
    if any(key.startswith("aff.") for key in state):
        yield f"BME {architecture or '(ResNet-50)'}", lambda: BlurMagnitudeEstimator(**architecture)
        return
    for name, known in DEBLURRING.items():
        for keywords in [architecture] if architecture else known:
            yield (
                f"{name} {keywords or '(GoPro)'}",
                lambda name=name, keywords=keywords: models.build(name, **keywords),
            )


if __name__ == "__main__":
    run(main)
