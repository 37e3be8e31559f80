"""The unit of each stage as the released code computes it, and as this project does.

A form is a function that prepares the work and returns it as a Run. "released" feeds the published networks as
the released code does: float32, NCHW, one frame, pair, window or whole frame at a time, everything of a window
anew, six files decoded for each training sample. "ours" calls the functions that the stages call.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common.config import Config, DeblurringConfig, RuntimeConfig
from common.flow import RaftFlow
from common.images import pad_to_multiple, read_image, to_tensor
from common.runtime.distributed import World, compiled, mixed_precision, place
from common.training.frame_cache import FrameCache
from common.training.loop import Plan, Task, fit
from DeblurringModel import models
from DeblurringModel.inference.restoring import clips_of, restored_frames
from DeblurringModel.pairs import REACH, Pair, Pairs
from RSDM.magnitude import estimate
from RSDM.regions import search_threshold
from scripts.benchmarking import content
from scripts.benchmarking.workload import Workload

NETWORKS = {
    "ESTRNN": ("ESTRNN", {}),
    "MMP-RNN": ("MMP_RNN", {}),
    "DSTNet": ("DSTNet", {}),
    "DSTNet large": ("DSTNet", {"num_feat": 64, "num_block": 30, "widen": True}),
    "Shift-Net s": ("Shift_Net", {"variant": "small"}),
    "Shift-Net +": ("Shift_Net", {"variant": "plus"}),
}
TINY_NETWORKS = {"ESTRNN": ("ESTRNN", {"n_features": 4, "n_blocks": 1})}
FED_TOGETHER = 5
STEPS = 3
RESTORED = 8


@dataclass(frozen=True)
class Run:
    """`seconds()` does the work once and returns the seconds per unit; `units`: how many it computes;
    `parameters` of the network where they are told."""

    seconds: Callable[[], float]
    units: int
    parameters: int = 0


@dataclass(frozen=True)
class Given:
    """What a form is made for, a folder for its files that outlives it, and whether the network is
    compiled."""

    workload: Workload
    device: torch.device
    precision: str
    folder: Path
    compile: bool = False


def timed(work: Callable[[], object], device: torch.device, units: int = 1) -> Run:
    """Seconds per unit of `work`, which does `units` of them."""

    def run() -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / units

    return Run(run, units)


def inference(
    network: nn.Module,
    device: torch.device,
    precision: str,
    work: Callable[[], object],
) -> Callable[[], None]:
    """`work` without gradients, under autocast where precision is bf16."""

    def call() -> None:
        with torch.inference_mode(), mixed_precision(network, device, precision):
            work()

    return call


def bme_released(given: Given) -> Run:
    workload, device = given.workload, given.device
    network, image = content.bme(workload).to(device), to_tensor(content.frames(workload, 1)).to(device)
    return timed(inference(network, device, "fp32", lambda: network(image).cpu()), device)


def bme_ours(given: Given) -> Run:
    workload, device, precision = given.workload, given.device, given.precision
    batch = Config().rsdm.batch_size
    network, images = (
        compiled(place(content.bme(workload), device), given.compile),
        content.frames(workload, batch),
    )
    return timed(
        inference(network, device, precision, lambda: estimate(network, images, device)), device, batch
    )


def search(given: Given) -> Run:
    workload, device = given.workload, given.device
    maps = content.magnitude_maps(workload, workload.frames)
    return timed(lambda: search_threshold(maps, workload.regions, workload.box), device)


def raft_released(given: Given) -> Run:
    workload, device = given.workload, given.device
    network = content.raft(workload).to(device)
    first, second = (2 * image[None].to(device) - 1 for image in to_tensor(content.frames(workload, 2)))
    return timed(
        inference(
            network,
            device,
            "fp32",
            lambda: network(first, second, num_flow_updates=workload.updates)[-1].cpu(),
        ),
        device,
    )


def raft_ours(given: Given) -> Run:
    workload, device = given.workload, given.device
    flow = RaftFlow(content.raft(workload).to(device), workload.updates)
    images = torch.from_numpy(content.frames(workload, 3)).permute(0, 3, 1, 2)
    return timed(
        inference(
            flow.network, device, "fp32", lambda: flow.between(images.to(device), [(1, 2), (1, 0)]).cpu()
        ),
        device,
        2,
    )


def unet_released(given: Given) -> Run:
    workload, device = given.workload, given.device
    network = content.diffusion(workload).to(device)
    x = torch.rand(1, 9, workload.height, workload.width, device=device)
    return timed(
        inference(
            network, device, "fp32", lambda: network.model(x, torch.ones(1, dtype=torch.int64, device=device))
        ),
        device,
    )


def unet_ours(given: Given) -> Run:
    workload, device, precision = given.workload, given.device, given.precision
    network, batch, steps = place(content.diffusion(workload), device), Config().blurring.batch_size, 2
    compiled(network.model, given.compile)
    side = workload.context
    condition, noise = (
        torch.rand(batch, 6, side, side, device=device),
        torch.rand(batch, 3, side, side, device=device),
    )
    return timed(
        inference(network, device, precision, lambda: network.ddim_sample(condition, noise, steps)),
        device,
        batch * steps,
    )


def step_released(given: Given) -> Run:
    workload, device = given.workload, given.device
    network, spec = content.estrnn(workload).to(device).train(), models.spec("ESTRNN")
    optimizer = torch.optim.Adam(network.parameters(), spec.learning_rate)
    side, paths = workload.crop, content.video(given.folder / "video", workload, 2 * REACH + 1).frames

    def work() -> None:
        samples = [
            torch.stack([to_tensor(read_image(path)[:side, :side]) for path in (*paths, paths[REACH])])
            for _ in range(workload.windows)
        ]
        batch = torch.stack(samples).to(device) - 0.5
        optimizer.zero_grad(set_to_none=True)
        spec.adaptation_loss(network(batch[:, :-1]), batch[:, -1:]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), spec.gradient_clip)
        optimizer.step()

    return timed(work, device)


def step_ours(given: Given) -> Run:
    workload, device, precision = given.workload, given.device, given.precision
    network, spec = content.estrnn(workload), models.spec("ESTRNN")

    made = content.video(given.folder / "video", workload, 2 * REACH + 1)
    pair = Pair(made.frames, made.frames[REACH], (0, 0, workload.height, workload.width), "video")
    pairs, moments = Pairs([pair], workload.crop, 0, FrameCache(1.0)), []

    def loss(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        moments.append(time.perf_counter())
        windows, sharp = (models.to_range(part, spec, "rgb") for part in batch)
        return spec.adaptation_loss(net(windows), sharp)

    def run() -> float:
        moments.clear()
        plan = Plan(
            STEPS + 1,
            workload.windows,
            lambda step: spec.learning_rate,
            spec.gradient_clip,
            precision,
            label="step",
            compile=given.compile,
        )
        weights = given.folder / f"weights {time.perf_counter()}"
        fit(
            network,
            Task(lambda items: pairs.batch(items, workload.windows), loss),
            plan,
            weights,
            World(0, 1, device),
            {},
        )
        # The first step finds no memory of its own yet. The last, which also checks the training's health,
        # starts the clock's last reading and is not in it.
        return (moments[STEPS] - moments[1]) / (STEPS - 1)

    return Run(run, STEPS + 1)


def window_released(given: Given) -> Run:
    workload, device = given.workload, given.device
    network = content.estrnn(workload).to(device)
    window = to_tensor(content.frames(workload, 2 * REACH + 1))[None].to(device) - 0.5
    return timed(inference(network, device, "fp32", lambda: network(window).cpu()), device)


def window_ours(given: Given) -> Run:
    return restoring(given, RESTORED)


def clip_ours(given: Given) -> Run:
    """One clip, as long as deblurring.clip_length makes it in configs/demo_estrnn.yaml."""
    return restoring(given, given.workload.long_clip - 2 * REACH, given.workload.long_clip)


def restoring(given: Given, count: int, length: int = 0) -> Run:
    workload, device, precision = given.workload, given.device, given.precision
    network, spec = place(content.estrnn(workload), device), models.spec("ESTRNN")
    made = content.video(given.folder / f"video {count} {workload.width}", workload, count)
    config = Config(
        deblurring=DeblurringConfig(clip_length=length), runtime=RuntimeConfig(precision=precision)
    )
    clips = clips_of(made, spec, config.deblurring.clip_length, config.deblurring.clip_overlap, "mirror")

    def work() -> None:
        for _ in restored_frames(network, spec, made, clips, config, device, print):
            pass

    return timed(work, device, count)


def network_form(name: str, given: Given) -> Run:
    """One clip of FED_TOGETHER frames through a deblurring network; seconds per restored frame."""
    workload, device, precision = given.workload, given.device, given.precision
    model, architecture = (NETWORKS | (TINY_NETWORKS if workload.estrnn else {}))[name]
    spec, network = models.spec(model), content.seeded(lambda: models.build(model, **architecture)).eval()
    place(network, device)
    clip = to_tensor(content.frames(workload, FED_TOGETHER))[None].to(device)
    clip = pad_to_multiple(clip, spec.multiple, spec.minimum)
    run = timed(
        inference(network, device, precision, lambda: models.restore(network, spec, clip)),
        device,
        FED_TOGETHER - spec.past - spec.future,
    )
    return replace(run, parameters=sum(parameter.numel() for parameter in network.parameters()))


FORMS: dict[str, Callable[[Given], Run]] = {
    "bme:released": bme_released,
    "bme:ours": bme_ours,
    "search:both": search,
    "raft:released": raft_released,
    "raft:ours": raft_ours,
    "unet:released": unet_released,
    "unet:ours": unet_ours,
    "step:released": step_released,
    "step:ours": step_ours,
    "window:released": window_released,
    "window:ours": window_ours,
    "clip:ours": clip_ours,
}
COMPILED: dict[str, Callable[[Given], Run]] = {
    f"{unit}:compiled": lambda given, form=FORMS[f"{unit}:ours"]: form(replace(given, compile=True))
    for unit in ("bme", "unet", "step")
}
"""The units that runtime.compile has a part in."""
