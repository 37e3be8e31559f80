"""Every key of the configuration with its default and its range (rules between keys: common/config_rules.py).

Dataclasses, one a section, that `common.config_loader` fills. configs/default.yaml and
configs/train/default.yaml explain each key.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError


def key(
    default: Any,
    *,
    path: bool = False,
    words: Sequence[str] = (),
    python_class: bool = False,
    of: str = "",
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A configuration field: default, whether text is a file path (but for some words) or may (beside the
    allowed words) be path/to/file.py:Class, the key whose change empties this mapping, allowed words,
    inclusive number range."""
    metadata = {
        "path": path,
        "words": tuple(words),
        "python_class": python_class,
        "of": of,
        "choices": tuple(choices),
        "low": low,
        "high": high,
    }
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DatasetConfig:
    root: Path | None = key(None, path=True)
    blur: str = key("Blur/RGB")
    sharp: str = key("Sharp/RGB")
    videos: list[str] = key([])
    min_frames: int = key(5, low=1)


@dataclass(frozen=True)
class RsdmConfig:
    estimator: str = key("bme", choices=("bme",), python_class=True)
    weights: Path | None = key(None, path=True)
    backbone: str = key("resnet50", choices=("resnet50", "resnet18", "resnet10_slim"))
    width: int = key(64, low=2)
    ratio: float = key(0.2, low=0.0, high=1.0)
    min_regions: int = key(0, low=0)
    min_size: int = key(256, low=8)
    initial_threshold: float = key(0.1, low=1e-5, high=0.99)
    border: int = key(3, low=2)
    min_neighbour_motion: float = key(0.0, low=0.0)
    score: str = key("magnitude", choices=("magnitude",), python_class=True)
    patches: str = key("sharp", choices=("sharp", "random"))
    batch_size: int = key(4, low=1)


@dataclass(frozen=True)
class DbcgmConfig:
    flow: str = key("raft_large", choices=("raft_large", "raft_small", "dis"), python_class=True)
    weights: Path | None = key(None, path=True, words=("torchvision",))
    iterations: int = key(20, low=1)
    frames: str = key("selected", choices=("selected", "all"))
    trajectory: str = key("central", choices=("central", "five_frame"))
    magnitude_offset: float = key(10.0, low=0.0)
    adapt_magnitude: bool = key(True)
    magnitude: str = key("bme", choices=("bme", "shutter"))
    motion: bool = key(False)
    condition: str = key("dbcgm", choices=("dbcgm", "optical_flow", "random"))
    random_magnitude: float = key(205.0, low=0.0)


@dataclass(frozen=True)
class MovedConfig:
    copies: int = key(1, low=1, high=1000)
    blend_still: bool = key(False)
    denoise_target: bool = key(False)


@dataclass(frozen=True)
class BlurringConfig:
    model: str = key("id_blau", choices=("id_blau", "line", "measured"))
    gamma: float = key(1.0, low=0.1, high=10.0)
    weights: Path | None = key(None, path=True)
    architecture: dict = key({})
    sampler: str = key("ddim", choices=("ddim", "dpm++2m", "ddpm"))
    steps: int = key(20, low=1)
    start: float = key(1.0, low=0.01, high=1.0)
    eta: float = key(0.0, low=0.0, high=1.0)
    prediction: str = key("noise", choices=("noise", "image"))
    direction: str = key("vector", choices=("vector", "axis"))
    magnitude_scale: float = key(205.0, low=1.0)
    area: str = key("region", choices=("region", "frame"))
    margin: int = key(32, low=0)
    window: str = key("center", choices=("center", "all", "moved"))
    renoise: bool = key(False)
    moved: MovedConfig = field(default_factory=MovedConfig)
    batch_size: int = key(4, low=1)


@dataclass(frozen=True)
class AlignedConfig:
    reach: int = key(6, low=1, high=100)


@dataclass(frozen=True)
class DeblurringConfig:
    model: str = key("ESTRNN", python_class=True)
    architecture: dict = key({}, of="model")
    interface: dict = key({}, of="model")
    weights: Path | None = key(None, path=True)
    channel_order: str = key("rgb", choices=("rgb", "bgr"))
    epochs: int = key(10, low=1)
    min_steps: int = key(0, low=0)
    batch_size: int = key(8, low=1)
    crop_size: int = key(256, low=8)
    pairs: str = key("reblurred", choices=("reblurred", "aligned", "both", "ground_truth"))
    targets: str = key("sharp", choices=("sharp", "restored"))
    rehearsal: int = key(0, low=0, high=1000)
    fusion: str = key("none", choices=("none", "aligned"))
    aligned: AlignedConfig = field(default_factory=AlignedConfig)
    loss: str | None = key(None, choices=("l1", "mse", "charbonnier", "psnr"), python_class=True)
    optimizer: str | None = key(None, choices=("adam", "adamw"))
    weight_decay: float = key(0.0, low=0.0)
    learning_rate: float | None = key(None, low=0.0)
    min_learning_rate: float = key(1e-7, low=0.0)
    gradient_clip: float | None = key(None, low=0.0)
    scope: str = key("dataset", choices=("dataset", "video"))
    select: str = key("last", choices=("last", "best_pairs", "best_gt", "both"))
    patience: int = key(0, low=0)
    borders: str = key("mirror", choices=("drop", "mirror"))
    clip_length: int = key(0, low=0)
    clip_overlap: int = key(0, low=0)
    tile: int = key(0, low=0)
    tile_overlap: int = key(32, low=0)
    keep_every: int = key(0, low=0)


@dataclass(frozen=True)
class RuntimeConfig:
    device: str = key("auto", choices=("auto", "cpu", "cuda"))
    precision: str = key("fp32", choices=("fp32", "bf16"))
    tf32: bool = key(False)
    compile: bool = key(False)
    workers: int = key(2, low=0)
    cache_gib: float = key(2.0, low=0.0)
    seed: int = key(2023, low=0)


@dataclass(frozen=True)
class TrainRuntimeConfig(RuntimeConfig):
    cache_gib: float = key(8.0, low=0.0)


@dataclass(frozen=True)
class Config:
    """Everything the four stages read; configs/default.yaml explains each key."""

    output: Path | None = key(None, path=True)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    rsdm: RsdmConfig = field(default_factory=RsdmConfig)
    dbcgm: DbcgmConfig = field(default_factory=DbcgmConfig)
    blurring: BlurringConfig = field(default_factory=BlurringConfig)
    deblurring: DeblurringConfig = field(default_factory=DeblurringConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


@dataclass(frozen=True)
class TrainDataConfig:
    root: Path | None = key(None, path=True)
    render: str = key("none", choices=("none", "real"))
    content: list[Path] = key([], path=True)
    sharp: str = key("scene", choices=("scene", "camera"))
    longest: float = key(40.0, low=1.0, high=200.0)
    encoded: float = key(0.0, low=0.0, high=1.0)
    first_frames: float = key(0.0, low=0.0, high=1.0)
    validation: Path | None = key(None, path=True)
    augment: str = key("flip_rotate", choices=("none", "flip", "flip_rotate"))


@dataclass(frozen=True)
class NetworkConfig:
    name: str = key("")
    architecture: dict = key({})
    initialise: str = key("default", choices=("default", "identity"))
    batch_statistics: str = key("train", choices=("train", "fixed"))
    weights: Path | None = key(None, path=True)


@dataclass(frozen=True)
class StageConfig:
    share: float = key(0.0, low=0.0, high=1.0)
    crop_size: int | None = key(None, low=16)
    frames: int | None = key(None, low=5)
    batch_size: int | None = key(None, low=1)


@dataclass(frozen=True)
class ScheduleConfig:
    steps: int = key(0, low=0)
    epochs: int = key(0, low=0)
    batch_size: int = key(8, low=1)
    crop_size: int = key(256, low=16)
    frames: int = key(5, low=5)
    stages: list[StageConfig] = key([])
    loss: str = key("own", choices=("own", "l1", "mse", "charbonnier", "psnr"))
    fourier_weight: float = key(0.0, low=0.0)
    optimizer: str = key("adam", choices=("adam", "adamw"))
    weight_decay: float = key(0.0, low=0.0)
    average: float = key(0.0, low=0.0, high=0.99999)
    learning_rate: float = key(1e-3, low=0.0)
    min_learning_rate: float = key(1e-5, low=0.0)
    warmup_steps: int = key(0, low=0)
    gradient_clip: float = key(0.0, low=0.0)
    validate_every: int = key(1000, low=1)
    save_every: int = key(500, low=1)


@dataclass(frozen=True)
class DiffusionConfig:
    num_timesteps: int = key(2000, low=2)
    beta_1: float = key(1e-6, low=0.0, high=1.0)
    beta_T: float = key(1e-2, low=0.0, high=1.0)
    sampling_steps: int = key(20, low=1)
    strategy: list[str] = key([])
    align_condition: bool = key(True)
    reverse_direction: bool = key(False)
    offset_noise: float = key(0.0, low=0.0)
    timestep_power: float = key(1.0, low=0.1)
    prediction: str = key("noise", choices=("noise", "image"))
    direction: str = key("vector", choices=("vector", "axis"))
    magnitude_scale: float = key(205.0, low=1.0)


@dataclass(frozen=True)
class TrainConfig:
    """What the three trainers read; configs/train/default.yaml explains each key."""

    output: Path | None = key(None, path=True)
    data: TrainDataConfig = field(default_factory=TrainDataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    runtime: TrainRuntimeConfig = field(default_factory=TrainRuntimeConfig)


def as_dict(config: Any) -> Any:
    """The configuration as plain YAML/JSON values; paths become text."""
    if dataclasses.is_dataclass(config):
        return {item.name: as_dict(getattr(config, item.name)) for item in dataclasses.fields(config)}
    if isinstance(config, list):
        return [as_dict(item) for item in config]
    return str(config) if isinstance(config, Path) else config


def require(value: Any, name: str, hint: str) -> Any:
    """`value`, or a UserError that names the key when it is not set."""
    if value is None:
        raise UserError(f"{name} is not set: {hint} (in the config file, or --set {name}=...)")
    return value
