"""The two models that blur (blurring.model), behind one interface.

A model is given crops float32 (B, 6, h, w), RGB in [0, 1] and the blur condition in pixels, cut from frames
that were padded to a multiple of `multiple`, and returns blurred pictures uint8 RGB (B, h, w, 3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from BlurringModel.id_blau.dataset import encode_direction, normalise_condition
from BlurringModel.id_blau.diffusion import ONE_STEP, Draw, GaussianDiffusion
from BlurringModel.id_blau.timesteps import ddim_timesteps, log_snr_timesteps
from BlurringModel.id_blau.unet import UNet
from BlurringModel.reblurring.crops import Box, crop_draws
from common.checkpoints import load_state, load_state_into, stored_entry
from common.config import BlurringConfig
from common.errors import UserError
from common.formats.weights_keys import bare
from common.images import on_device, to_image
from common.rendering.line_blur import line_blur
from common.runtime.distributed import World, compiled, place
from common.stage import autocast

MOST_TIMESTEPS = 100_000
"""Steps of a noise schedule in a file; the published one has 2000."""


class Model(Protocol):
    """What blurs crops. multiple: side lengths it takes."""

    multiple: int

    def margin(self, condition: np.ndarray, box: Box) -> int:
        """Pixels of context around `box` that its blur by `condition` (3, H, W) needs."""

    def __call__(
        self,
        crops: Tensor,
        seeds: Sequence[int],
        places: Sequence[Box],
        padded: tuple[int, int],
    ) -> np.ndarray:
        """The crops, blurred. places: of the crops in frames of size `padded`; seeds: one an item."""


@dataclass(frozen=True)
class LineModel:
    """Every pixel becomes the mean along its own line: no weights, no random numbers."""

    device: torch.device
    gamma: float
    least_margin: int
    multiple: int = 1

    def margin(self, condition: np.ndarray, box: Box) -> int:
        """At least half of the longest line inside the box."""
        r0, c0, r1, c1 = box
        return max(self.least_margin, math.ceil(condition[2, r0:r1, c0:c1].max() / 2))

    def __call__(
        self,
        crops: Tensor,
        seeds: Sequence[int],
        places: Sequence[Box],
        padded: tuple[int, int],
    ) -> np.ndarray:
        """See `Model`; seeds and places have no effect."""
        crops = on_device(crops, self.device)
        with torch.inference_mode():
            return to_image(line_blur(crops[:, :3], crops[:, 3:], self.gamma))


@dataclass(frozen=True)
class DiffusionModel:
    """ID-Blau, sampled as the configuration says."""

    network: GaussianDiffusion
    config: BlurringConfig
    world: World
    precision: str

    @property
    def multiple(self) -> int:
        """Side lengths that the U-Net takes."""
        return self.network.model.multiple

    def margin(self, condition: np.ndarray, box: Box) -> int:
        """blurring.margin, whatever the condition."""
        return self.config.margin

    def __call__(
        self,
        crops: Tensor,
        seeds: Sequence[int],
        places: Sequence[Box],
        padded: tuple[int, int],
    ) -> np.ndarray:
        """See `Model`. A sample's noise depends on its seed and its place in the frame alone."""
        config = self.config
        seen = encode_direction(normalise_condition(crops[:, 3:], config.magnitude_scale), config.direction)
        condition = on_device(torch.cat([crops[:, :3] - 0.5, seen], dim=1), self.world.device)
        draw = crop_draws(seeds, places, *padded)
        noise = on_device(draw(0, torch.Size((len(crops), 3, *crops.shape[2:]))), self.world.device)
        with torch.inference_mode(), autocast(self.world, self.precision):
            return to_image(sample(self.network, config, condition, noise, draw) + 0.5)


def sample(
    network: GaussianDiffusion,
    config: BlurringConfig,
    condition: Tensor,
    noise: Tensor,
    draw: Draw,
) -> Tensor:
    """Blurred images (B, 3, H, W), not clamped, by the sampler that blurring.sampler names; see
    `GaussianDiffusion.ddim_sample` for the rest."""
    if config.sampler == "ddim":
        return network.ddim_sample(condition, noise, config.steps, config.eta, draw, config.start)
    if config.sampler == "dpm++2m":
        return network.dpm_sample(condition, noise, config.steps, config.start)
    return network.ddpm_sample(condition, noise, draw)


def evaluations(config: BlurringConfig, network: GaussianDiffusion) -> int:
    """How often the network is evaluated for one blurred picture."""
    total = network.num_timesteps
    if config.sampler == "ddim":
        return len(ddim_timesteps(total, config.steps, config.start))
    return config.steps if config.sampler == "dpm++2m" else total


def load_model(config: BlurringConfig, world: World, precision: str, compile: bool) -> Model:
    """The model that blurring.model names. Raises UserError for weights that do not fit the configuration."""
    # What has no measured kernels is blurred along lines.
    if config.model != "id_blau":
        return LineModel(world.device, config.gamma, config.margin)
    network = load_id_blau(config)
    place(network, world.device)
    compiled(network.model, compile)
    return DiffusionModel(network, config, world, precision)


def load_id_blau(config: BlurringConfig) -> GaussianDiffusion:
    """ID-Blau with its weights, on the CPU, for sampling; the noise schedule is the one stored with them."""
    state = bare(load_state(config.weights))
    if "betas" not in state:
        raise UserError(f"{config.weights}: holds no ID-Blau (its noise schedule `betas` is missing)")
    betas = state["betas"]
    if (
        betas.ndim != 1
        or not 2 <= len(betas) <= MOST_TIMESTEPS
        or not betas.is_floating_point()
        or not ((betas >= 0) & (betas < 1)).all()
    ):
        raise UserError(
            f"{config.weights}: its noise schedule `betas` is no list of 2 to {MOST_TIMESTEPS} numbers "
            "from 0 to 1; fetch or make it again"
        )
    check_trained_as(config)
    try:
        network = GaussianDiffusion(UNet(**config.architecture), state["betas"], config.prediction)
    except (TypeError, ValueError) as error:
        raise UserError(f"blurring.architecture: {error}") from None
    check_sampling(config, network)
    load_state_into(network, state, str(config.weights))
    return network.eval()


def check_sampling(config: BlurringConfig, network: GaussianDiffusion) -> None:
    """UserError where the sampler cannot visit the configured steps with this network."""
    if config.sampler == "ddpm":
        return
    if config.steps == 1 and config.prediction == "noise":
        raise UserError(f"blurring.steps: {ONE_STEP}")
    try:
        if config.sampler == "ddim":
            ddim_timesteps(network.num_timesteps, config.steps, config.start)
        else:
            log_snr_timesteps(network.alphas_cumprod, config.steps, config.start)
    except ValueError as error:
        raise UserError(f"blurring.steps: {error}") from None


def check_trained_as(config: BlurringConfig) -> None:
    """UserError where the weights say that they were trained in another way than the configuration says.

    Weights that say nothing, such as the published ones, are taken as they are configured.
    """
    for name, words in (("prediction", "to predict the"), ("direction", "with the direction as")):
        trained, asked = stored_entry(config.weights, name), getattr(config, name)
        if trained not in (None, asked):
            raise UserError(f"blurring.{name}: {config.weights} was trained {words} {trained}, found {asked}")
