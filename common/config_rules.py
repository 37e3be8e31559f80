"""Settings that are possible each, but not together: refused when the configuration is loaded."""

from typing import Any

from common.config import BlurringConfig, Config, DbcgmConfig, MovedConfig, TrainConfig, as_dict
from common.errors import UserError

WINDOW_REACH = 2
"""Frames before and after the middle one in a window."""


def check_rules(config: Any) -> None:
    """UserError, in one line that names the keys, for settings that do not go together."""
    if isinstance(config, TrainConfig):
        _check_training(config)
    if not isinstance(config, Config):
        return
    _check_conditions(config.dbcgm)
    _check_blurring(config.blurring)
    _check_windows(config)
    _check_decay("deblurring", config.deblurring.weight_decay, config.deblurring.optimizer)
    if config.deblurring.patience and config.deblurring.select not in ("best_pairs", "best_gt"):
        raise UserError(
            f"deblurring.patience: {config.deblurring.patience} needs deblurring.select best_pairs or best_gt, found "
            f"{config.deblurring.select}"
        )
    size, smallest = config.deblurring.crop_size, config.rsdm.min_size
    if size > smallest:
        raise UserError(
            f"deblurring.crop_size: {size} is larger than the smallest region (rsdm.min_size {smallest}); lower "
            "it, or raise rsdm.min_size"
        )


def _check_conditions(dbcgm: DbcgmConfig) -> None:
    if dbcgm.magnitude == "shutter":
        _needs("dbcgm.magnitude: shutter", "dbcgm.adapt_magnitude", dbcgm.adapt_magnitude, False)
    if dbcgm.flow == "dis" and dbcgm.weights is not None:
        raise UserError(
            f"dbcgm.weights: dis takes no weights, got {dbcgm.weights}; remove the key or choose dbcgm.flow: "
            "raft_large"
        )


def _check_blurring(blurring: BlurringConfig) -> None:
    if blurring.window != "moved":
        for name, value in as_dict(blurring.moved).items():
            if value != getattr(MovedConfig(), name):
                _needs(
                    f"blurring.moved.{name}: {_as_yaml(value)}", "blurring.window", blurring.window, "moved"
                )
    if blurring.moved.denoise_target:
        _needs("blurring.moved.denoise_target: true", "blurring.renoise", blurring.renoise, True)
    if blurring.start < 1 and blurring.sampler == "ddpm":
        raise UserError(
            f"blurring.start: {blurring.start:g} needs blurring.sampler ddim or dpm++2m, found ddpm"
        )
    if blurring.eta:
        _needs(f"blurring.eta: {blurring.eta:g}", "blurring.sampler", blurring.sampler, "ddim")


def _check_windows(config: Config) -> None:
    """What windows whose five frames are all blurred need of the stages before."""
    window, dbcgm = config.blurring.window, config.dbcgm
    if window == "center":
        return
    _needs(f"blurring.window: {window}", "dbcgm.frames", dbcgm.frames, "all")
    if window == "moved":
        _needs("blurring.window: moved", "dbcgm.motion", dbcgm.motion, True)
        _needs("blurring.window: moved", "dbcgm.adapt_magnitude", dbcgm.adapt_magnitude, False)
        return
    least = WINDOW_REACH + (1 if dbcgm.trajectory == "central" else 2)
    if config.rsdm.border < least:
        raise UserError(
            f"blurring.window: all needs rsdm.border of at least {least} with dbcgm.trajectory "
            f"{dbcgm.trajectory}, found {config.rsdm.border}"
        )


def _check_training(config: TrainConfig) -> None:
    _check_decay("schedule", config.schedule.weight_decay, config.schedule.optimizer)
    diffusion = config.diffusion
    if diffusion.sampling_steps > diffusion.num_timesteps // 2:
        raise UserError(
            "diffusion.sampling_steps: expected at most half of num_timesteps "
            f"({diffusion.num_timesteps // 2}), found {diffusion.sampling_steps}"
        )


def _check_decay(section: str, decay: float, optimizer: str | None) -> None:
    if decay:
        _needs(f"{section}.weight_decay: {decay:g}", f"{section}.optimizer", optimizer, "adamw")


def _needs(what: str, key: str, found: Any, wanted: Any) -> None:
    """UserError unless the key has the wanted value."""
    if found != wanted:
        raise UserError(f"{what} needs {key} {_as_yaml(wanted)}, found {_as_yaml(found)}")


def _as_yaml(value: Any) -> str:
    """A value as it stands in a YAML file."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
