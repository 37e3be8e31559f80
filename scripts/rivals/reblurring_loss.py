"""Rival reblurring loss (Nah et al., ICLR 2022): adapt a deblurring network to each video, then restore it.

After Clean Images are Hard to Reblur. A reblurring module leaves sharp pictures alone and returns restored ones to
their blurry input: it sees what blur they have left, and makes more of it. At test time the deblurring network learns
that what it restored should not change when it is reblurred. Not the authors' networks: the module is the small one of
scripts/rivals/networks.py, of one frame. Chosen here: five steps of Adam with a rate of 1e-5, four random patches each.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, deblurring.weights,
         --weights (scripts/rivals/train_reblurring_loss.py)
Writes   <output>/deblurring/<model>/adapted/<video>/<frame>.png
Usage    python scripts/rivals/reblurring_loss.py --config C --weights weights/rivals/reblurring_loss.pth
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.runtime import start

start.prepare(__name__)

import torch
from torch import Tensor, nn

from common.checkpoints import load_into
from common.runtime.distributed import mixed_precision, place
from common.runtime.entry import run
from common.stage import Stage
from common.videos import Video
from DeblurringModel.losses import mean_absolute_error
from DeblurringModel.variants import load_network, model_spec
from scripts.rivals.adapting import check_file, open_rival, restore_adapted, windows_of
from scripts.rivals.networks import ReblurringNetwork
from scripts.rivals.windows import anywhere, restored_middle

NAME = "reblurring_loss"
STEPS, RATE, BATCH = 5, 1e-5, 4


def main() -> None:
    """Adapt to each video and restore it."""
    stage = open_rival(__doc__.splitlines()[0], STEPS, RATE)
    check_file(stage, NAME)
    module = ReblurringNetwork()
    load_into(module, stage.options.weights)
    place(module, stage.world.device).eval().requires_grad_(False)
    settings = {
        "rival": NAME,
        "inner": {"steps": stage.options.steps, "rate": stage.options.rate, "batch": BATCH},
    }
    restore_adapted(stage, settings, lambda video: adapted(stage, module, video))
    stage.say_report()


def adapted(stage: Stage, module: nn.Module, video: Video) -> nn.Module:
    """The deblurring network adapted to a video."""
    config, device, steps = stage.config.deblurring, stage.world.device, stage.options.steps
    network, spec = load_network(stage.config, config.weights, device).train(), model_spec(stage.config)
    windows = windows_of(
        stage,
        video,
        lambda read, frames, size, side, rng: anywhere(frames, size, side, rng, max(1, steps) * BATCH),
    )
    if windows is None:
        return network
    optimizer = torch.optim.Adam(network.parameters(), lr=stage.options.rate)
    for step in range(steps):
        batch = windows[step * BATCH : (step + 1) * BATCH].to(device)
        optimizer.zero_grad(set_to_none=True)
        precision = stage.config.runtime.precision
        with mixed_precision(network, device, precision):
            restored = restored_middle(network, spec, batch, config.channel_order)
        with mixed_precision(module, device, precision):
            loss = changed(module, restored)
        loss.backward()
        optimizer.step()
    return network


def changed(module: nn.Module, picture: Tensor) -> Tensor:
    """Mean absolute change of pictures (B, 3, H, W), RGB in [0, 1], when they are reblurred."""
    return mean_absolute_error(reblurred(module, picture), picture)


def reblurred(module: nn.Module, picture: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) reblurred, each by itself."""
    return module(picture[:, None])


if __name__ == "__main__":
    run(main)
