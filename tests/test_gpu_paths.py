"""What only a GPU runs, as far as a CPU shows it.

The device "meta" stands for a GPU: an operation on it fails where a tensor lies elsewhere, or where a value is read on
the host, which makes a GPU wait.
"""

import contextlib
import importlib
import math
import shutil
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import finished, one_thread  # noqa: F401
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from BlurringModel.id_blau.diffusion import GaussianDiffusion, linear_betas
from BlurringModel.id_blau.train import diffusion_loss
from BlurringModel.id_blau.unet import UNet
from BlurringModel.reblurring.crops import crop_draws
from common import images
from common.checkpoints import load_checkpoint
from common.config import DeblurringConfig, DiffusionConfig
from common.errors import UserError
from common.flow import RaftFlow, raft_network
from common.formats import weights_files
from common.runtime import distributed, locks
from common.runtime.distributed import World
from common.runtime.memory import halving
from common.training import loop
from common.training.loop import READ_EVERY, Plan, Task, fit
from DeblurringModel import models
from DeblurringModel.fine_tuning import middle_loss
from DeblurringModel.Window_UNet import inputs
from RSDM.bme.model import BlurMagnitudeEstimator
from RSDM.bme.train import magnitude_loss
from scripts.preparation.trial import SMALL

ALONE, AWAY = World(0, 1, torch.device("cpu")), World(0, 1, torch.device("meta"))
Trained = tuple[nn.Module, Callable, tuple[Tensor, ...]]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast knows no device "meta"."""
    monkeypatch.setattr(loop, "mixed_precision", lambda *_: contextlib.nullcontext())


def _deblurring(name: str) -> Trained:
    spec = models.spec(name)
    batch = (
        torch.rand(1, spec.past + spec.future + 1, 3, 64, 64),
        torch.rand(1, 1, 3, 64, 64),
        torch.ones(1, 1, 1, 64, 64),
    )
    return models.build(name, **SMALL[name]), middle_loss(DeblurringConfig(), spec), batch


def _bme() -> Trained:
    batch = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    return BlurMagnitudeEstimator("resnet10_slim", 8), magnitude_loss, batch


def _diffusion() -> GaussianDiffusion:
    return GaussianDiffusion(
        UNet(base_channels=8, channel_mults=[1, 2], num_res_blocks=1, time_dim=16), linear_betas()
    )


def _id_blau() -> Trained:
    recipe = DiffusionConfig(offset_noise=0.1)
    batch = torch.rand(2, 3, 16, 16), torch.rand(2, 6, 16, 16)
    return _diffusion(), lambda network, batch: diffusion_loss(network, batch, recipe), batch


@pytest.mark.parametrize("case", [*SMALL, "BME", "ID-Blau"])
def test_a_training_step_reads_no_value_on_the_host(
    case: str, tmp_path: Path, away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The U-Net's flow is the exception: OpenCV finds it, on the CPU. Everything after it stays on the device.
    monkeypatch.setattr(
        inputs, "aligned_to_middle", lambda window: (window, window.new_zeros(window[:, :, :2].shape))
    )
    network, loss, batch = {"BME": _bme, "ID-Blau": _id_blau}.get(case, lambda: _deblurring(case))()
    plan = Plan(100, 1, lambda step: 1e-3, gradient_clip=0.1, optimizer="adamw", average=0.9)
    run = loop._Run(network, Task(lambda items: batch, loss), plan, tmp_path, AWAY, {})
    for step in range(2):
        run.step(step, batch, False, False)
    assert len(run.unread) == 2 and all(value.device.type == "meta" for value in run.unread)
    with pytest.raises(RuntimeError, match="meta"):
        run.step(READ_EVERY - 1, batch, False, False)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_sampling_takes_place_on_the_device(sampler: str) -> None:
    network = _diffusion().to("meta").eval()
    draw = crop_draws([1, 2], [(0, 0, 16, 16)] * 2, 16, 16)
    given, noise = (torch.empty(2, channels, 16, 16, device="meta") for channels in (6, 3))
    if sampler == "ddim":
        made = network.ddim_sample(given, noise, 2, 1.0, draw)
    else:
        network.betas = network.betas[:3]
        made = network.ddpm_sample(given, noise, draw)
    assert made.device.type == "meta" and made.shape == noise.shape


class HostReads(TorchDispatchMode):
    """Counts the values that are read on the host."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(keywords or {}))


def test_dpm_sampling_reads_no_value_between_its_steps() -> None:
    network = _diffusion().eval()
    with HostReads() as reads:
        network.dpm_sample(
            torch.rand(1, 6, 16, 16), torch.rand(1, 3, 16, 16), 3, visited=[(9, 5), (5, 2), (2, 0)]
        )
    assert reads.count == 0
    with reads:
        float(torch.ones(1))
    assert reads.count == 1


def test_optical_flow_stays_on_the_device_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.flow.torch.autocast", lambda *_, **__: contextlib.nullcontext())
    flow = RaftFlow(raft_network("raft_small").to("meta"), 2)
    found = flow.between(torch.empty(3, 3, 128, 136, device="meta"), [(1, 2), (1, 0)])
    assert found.device.type == "meta" and found.shape == (2, 2, 128, 136)


class Line(nn.Module):
    """A straight line, whose loss is NaN in the step named."""

    def __init__(self, bad: int) -> None:
        super().__init__()
        self.slope, self.bad, self.calls = nn.Parameter(torch.zeros(1)), bad, 0

    def forward(self, batch: Tensor) -> Tensor:
        return self.slope * batch[:, :1]


def _train(folder: Path, bad: int = -1, steps: int = 40, save_every: int = 7) -> list[dict]:
    def batch(items: list[int]) -> tuple[Tensor, ...]:
        values = torch.rand(len(items), 2, generator=torch.Generator().manual_seed(items[0]))
        return (values.where(torch.tensor(items[0] != bad), torch.nan),)

    def loss(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return (network(batch[0]) - batch[0][:, 1:]).square().mean()

    plan = Plan(steps, 1, lambda step: 1e-2, validate_every=20, save_every=save_every, workers=0)
    return fit(Line(bad), Task(batch, loss), plan, folder, ALONE, {})


@pytest.mark.parametrize("bad", [3, 9, 12, 13, 14])
def test_a_loss_that_is_not_finite_ends_the_training_at_its_own_step(tmp_path: Path, bad: int) -> None:
    """Whether it is read at once or later: the state on disk is the last one before it."""
    with pytest.raises(UserError, match=rf"diverged at step {bad + 1}, the loss is nan"):
        _train(tmp_path / "bad", bad)
    kept = tmp_path / "bad" / "last.pth"
    assert kept.exists() == (bad >= 7)
    if bad >= 7:
        _train(tmp_path / "good")
        stored, whole = load_checkpoint(kept), load_checkpoint(tmp_path / "good" / "last.pth")
        assert stored["step"] == 7 * (bad // 7) and len(stored["losses"]) == stored["step"]
        assert all(math.isfinite(value) for value in stored["losses"]) and whole["step"] == 40


def test_losses_that_are_read_together_are_all_counted(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole")
    # Ended between two readings, and then read at every step.
    with pytest.raises(UserError):
        _train(tmp_path / "parts", bad=24, save_every=23)
    assert load_checkpoint(tmp_path / "parts" / "last.pth")["step"] == 23
    assert _train(tmp_path / "parts", save_every=1) == whole


def test_processes_that_see_different_checkpoints_are_told_so(tmp_path: Path, monkeypatch) -> None:
    """A network folder that shows one node the file, and another one not yet."""
    monkeypatch.setattr(World, "gather", lambda world, value: [value, 7])
    with pytest.raises(
        UserError, match="see different files .steps 0, 7.; the output folder has to be the same"
    ):
        _train(tmp_path)


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """A machine with four GPUs, the second of two nodes, as this process sees it; what is asked of PyTorch."""
    asked: list = []
    environment = {"RANK": 5, "LOCAL_RANK": 1, "WORLD_SIZE": 8, "LOCAL_WORLD_SIZE": 4, "MASTER_PORT": 29500}
    for name, value in (environment | {"MASTER_ADDR": "node0"}).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: asked.append(("device", device)))
    group = torch.distributed
    monkeypatch.setattr(group, "init_process_group", lambda *names, **keys: asked.append((*names, keys)))
    monkeypatch.setattr(group, "barrier", lambda **keys: asked.append(("barrier", keys)))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    yield asked
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def test_the_gpu_is_that_of_the_place_on_the_node(four_gpus: list) -> None:
    world = distributed.start()
    assert (world.rank, world.size, world.local_size, world.device) == (5, 8, 4, torch.device("cuda", 1))
    world.barrier()
    (_, chosen), (backend, keys), barrier = four_gpus
    assert chosen == keys["device_id"] == world.device and backend == "nccl"
    assert barrier == ("barrier", {"device_ids": [1]})


def test_more_processes_than_gpus_are_refused(four_gpus: list, monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(UserError, match="5 processes on this machine but 4 CUDA devices"):
        distributed.start()


def test_memory_is_pinned_for_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: calls.append("pinned") or tensor)
    monkeypatch.setattr(Tensor, "to", lambda tensor, *to, **keys: calls.append((*to, keys)) or tensor)
    picture = torch.zeros(3)
    images.on_device(picture, "cpu")
    assert calls == [("cpu", {})]
    images.on_device(picture, torch.device("cuda", 1))
    assert calls[1:] == ["pinned", (torch.device("cuda", 1), {"non_blocking": True})]


@pytest.mark.parametrize("cyclic", [False, True])
def test_what_a_failed_attempt_held_is_free_before_the_next(cyclic: bool, monkeypatch) -> None:
    held: list[weakref.ref] = []
    alive: list[bool] = []

    def work(size: int) -> int:
        value = np.zeros(size)
        held.append(weakref.ref(value))
        around: list = [value]
        if cyclic:
            around.append(around)
        if size > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return size

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(held[-1]() is not None))
    assert halving(work, 8, 1, "batch", lambda line: None) == (2, 2)
    assert alive == [False, False]


def test_optical_flow_of_fewer_pairs_where_memory_does_not_suffice(monkeypatch, capsys) -> None:
    torch.manual_seed(0)
    flow = RaftFlow(raft_network("raft_large"), 2)
    pictures, pairs = torch.rand(3, 3, 128, 128) * 255, [(1, 2), (1, 0), (0, 1)]
    expected = flow.between(pictures, pairs)
    whole, sizes = flow.network.update_block.forward, []

    def short(hidden: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(hidden))
        # In the second update: the first has counted itself.
        if len(hidden) > 1 and len(sizes) % 2 == 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(hidden, *more)

    monkeypatch.setattr(flow.network.update_block, "forward", short)
    for _ in range(2):
        found = flow.between(pictures, pairs)
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert sizes == [3, 3, *[1] * 12]
    assert (
        "optical flow of several pairs of frames: not enough memory with 3, going on with 1"
        in capsys.readouterr().out
    )


class Meeting:
    """Where the processes of a `Together` meet; every meeting has to be the same one for all."""

    def __init__(self, size: int) -> None:
        self.barrier, self.values = threading.Barrier(size, timeout=240), [None] * size
        self.kinds: list[str] = []

    def __call__(self, rank: int, kind: str, value: object) -> list:
        self.values[rank] = kind, value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        assert len({kind for kind, _ in found}) == 1, found
        if rank == 0:
            self.kinds.append(kind)
        return [value for _, value in found]


@dataclass(frozen=True)
class Together(World):
    """One of several processes, as a thread. What NCCL asks for is kept track of: that all call the same, in the same
    order, equally often."""

    meeting: Meeting | None = None

    def barrier(self) -> None:
        self.meeting(self.rank, f"barrier in {sys._getframe(1).f_code.co_name}", None)

    def gather(self, value: object) -> list:
        return self.meeting(self.rank, f"gather in {sys._getframe(1).f_code.co_name}", value)

    def copy_from_main(self, tensors: object) -> None:
        self.meeting(self.rank, "copy_from_main", None)


@pytest.fixture
def reading_in_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch allows classes in weights files for the whole process: allowed once, not by each thread in turn."""
    with torch.serialization.safe_globals(weights_files._ALLOWED_CLASSES):
        monkeypatch.setattr("torch.serialization.safe_globals", lambda classes: contextlib.nullcontext())
        yield


@pytest.mark.parametrize("scope", ["dataset", "video"])
@pytest.mark.usefixtures("reading_in_threads")
def test_with_fewer_videos_than_processes_all_make_the_same_calls(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    shutil.copytree(finished, tmp_path / "case", ignore=shutil.ignore_patterns("out"))
    meeting, own, failed = Meeting(3), threading.local(), []
    worlds = [Together(rank, 3, torch.device("cpu"), 3, meeting) for rank in range(3)]
    monkeypatch.setattr("common.stage.distributed.start", lambda *_: own.world)
    # Each trains by itself: what is looked at are the calls.
    monkeypatch.setattr(loop, "DistributedDataParallel", lambda module, device_ids: module)
    changes = [f"deblurring.scope={scope}", "deblurring.batch_size=3", "deblurring.select=best_gt"]
    config = ["--config", str(tmp_path / "case" / "config.yaml"), "--set", *changes]

    def work(world: Together, main: Callable[[], None]) -> None:
        own.world = world
        try:
            main()
        except BaseException as error:
            failed.append(error)
            meeting.barrier.abort()

    for stage in tiny.STAGES:
        monkeypatch.setattr("sys.argv", ["main.py", *config])
        main = importlib.import_module(f"{stage}.main").main
        threads = [threading.Thread(target=work, args=(world, main)) for world in worlds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        locks.release()
        assert not failed, failed
    assert {"copy_from_main", "gather in unfinished", "gather in mean_of_all"} <= set(meeting.kinds)
    for made in ("rsdm/sharp_regions.json", "dbcgm/condition", "blurring", "deblurring/ESTRNN/baseline"):
        one, many = (folder / "out" / made for folder in (finished, tmp_path / "case"))
        paths = [one] if one.is_file() else [*one.rglob("*.png"), *one.rglob("*.npy")]
        assert paths and all(
            path.read_bytes() == (many / path.relative_to(one)).read_bytes() for path in paths
        )
