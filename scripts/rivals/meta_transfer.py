"""Rival meta-transfer (Liu et al., BMVC 2022): adapt a deblurring network to each video, then restore it.

After Meta Transferring for Deblurring. A reblurring network makes the sharpest patches of a video look like its blurry
ones, and the deblurring network learns to undo that (scripts/rivals/inner_loop.py). Smaller than the authors': 16
features, no transformer, a smaller critic. The patch alone is reblurred; the four other frames of a window are the
video's own. The critic goes on learning in the video. Chosen here, because the description that this follows does not
say it: Adam with a rate of 1e-5, and that each of the 20 steps sees one of the 20 patches.

The authors' gains with ESTRNN on five test sets are between -0.86 and +0.36 dB.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, deblurring.weights, --weights (scripts/rivals/meta_learn.py)
Writes   <output>/deblurring/<model>/adapted/<video>/<frame>.png
Usage    python scripts/rivals/meta_transfer.py --config configs/demo.yaml --weights weights/rivals/meta_transfer.pth
"""

import argparse
import copy
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.runtime import start

start.prepare(__name__)

from torch import nn

from common.checkpoints import load_into
from common.runtime.distributed import place
from common.runtime.entry import run
from common.stage import Stage
from common.videos import Video
from DeblurringModel.fine_tuning import chosen_loss
from DeblurringModel.variants import built, model_spec
from scripts.rivals.adapting import check_file, open_rival, restore_adapted, windows_of
from scripts.rivals.inner_loop import Deblurring, Inner, Networks, adapt
from scripts.rivals.windows import sharpest

NAME = "meta_transfer"
INNER = Inner()


def main() -> None:
    """Adapt to each video and restore it."""
    stage = open_rival(__doc__.splitlines()[0], INNER.steps, INNER.rate, _arguments)
    check_file(stage, NAME)
    options = stage.options
    inner = replace(INNER, steps=options.steps, rate=options.rate)
    unadapted = loaded(stage)
    settings = {"rival": NAME, "own_start": options.own_start, "inner": asdict(inner)}
    restore_adapted(stage, settings, lambda video: adapted(stage, unadapted, video, inner))
    stage.say_report()


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--own-start",
        action="store_true",
        help="start from the deblurring network that was trained along, in --weights, in place of deblurring.weights",
    )


def loaded(stage: Stage) -> Networks:
    """The networks that every video starts from."""
    networks = Networks(built(stage.config))
    load_into(networks, stage.options.weights)
    if not stage.options.own_start:
        load_into(networks.deblurring, stage.config.deblurring.weights)
    return place(networks, stage.world.device)


def adapted(stage: Stage, unadapted: Networks, video: Video, inner: Inner) -> nn.Module:
    """The deblurring network adapted to a video."""
    networks = copy.deepcopy(unadapted)
    windows = windows_of(stage, video, partial(sharpest, count=inner.patches))
    if windows is not None:
        config, spec = stage.config.deblurring, model_spec(stage.config)
        distance = chosen_loss(config.loss, spec)
        adapt(
            networks.train(),
            windows,
            Deblurring(spec, distance, config.channel_order, stage.config.runtime.precision),
            inner,
        )
    return networks.deblurring


if __name__ == "__main__":
    run(main)
