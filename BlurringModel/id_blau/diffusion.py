"""The diffusion process around the U-Net: schedule, training loss, samplers. Source: ID-Blau's released code.

Images are RGB in [-0.5, 0.5]. A condition (B, 6, H, W) is the sharp image followed by the condition map: the
unit vector (x right, y down) of the motion in [-1, 1] and its magnitude in [0, 1].

Random numbers come from outside. A `Draw` is a function draw(k, shape) that returns the k-th standard normal
tensor of a run: k = 0 is the initial noise, which the caller draws and passes to the sampler; the samplers
take k = 1, 2, ... in the order of their steps.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from BlurringModel.id_blau.timesteps import ddim_timesteps, log_snr, log_snr_timesteps

Draw = Callable[[int, torch.Size], Tensor]

CHARBONNIER_EPS = 1e-3
PREDICTIONS = ("noise", "image")
ONE_STEP = "1 step is for a network that predicts the image; where it predicts the noise use 2 or more"


def linear_betas(num_timesteps: int = 2000, beta_1: float = 1e-6, beta_T: float = 1e-2) -> Tensor:
    """Noise variances of the steps, (num_timesteps,) float64, spaced evenly from beta_1 to beta_T."""
    # The spacing is computed in float32 because the published schedule, part of every checkpoint, was.
    return torch.linspace(beta_1, beta_T, num_timesteps, dtype=torch.float32, device="cpu").double()


def seeded_draws(seeds: Sequence[int]) -> Draw:
    """Draws in which item b of the k-th tensor depends on seeds[b] and k alone.

    So a sample is the same in any batch, in any order and on any device (the numbers are made on the CPU).
    Seeds are non-negative integers of any size. The draw raises ValueError for a batch of another size.
    """
    seeds = tuple(seeds)

    def draw(k: int, shape: torch.Size) -> Tensor:
        if shape[0] != len(seeds):
            raise ValueError(f"expected a batch of {len(seeds)}, one item per seed, got {shape[0]}")
        items = [
            np.random.default_rng((seed, k)).standard_normal(tuple(shape[1:]), dtype=np.float32)
            for seed in seeds
        ]
        return torch.from_numpy(np.stack(items))

    return draw


class GaussianDiffusion(nn.Module):
    """Schedule buffers and the predictor `model`.

    `unet` maps x (B, 9, H, W), the noisy image and its condition, and steps (B,) to its prediction
    (B, 3, H, W): the noise (published), or with `prediction="image"` the blurred image, from which the noise
    follows. At the noisiest steps an error of the predicted noise is amplified a hundredfold in the image,
    one of the predicted image is not, which suits small networks and short trainings. `betas` (T,) are the
    noise variances of the steps. The derived quantities are computed in float64, stored in float32 and part
    of the
    state dict: loading a checkpoint made with as many steps replaces them. Raises ValueError for another
    prediction or shape.
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    reciprocal_sqrt_alphas: Tensor
    remove_noise_coeff: Tensor
    sigma: Tensor

    def __init__(self, unet: nn.Module, betas: Tensor, prediction: str = "noise") -> None:
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction: expected one of {', '.join(PREDICTIONS)}, got {prediction!r}")
        if betas.ndim != 1 or not len(betas):
            raise ValueError(f"expected betas (T,) with T >= 1, got shape {tuple(betas.shape)}")
        betas = betas.double()
        alphas = 1 - betas
        cumulative = alphas.cumprod(0)
        schedule = {
            "betas": betas,
            "alphas": alphas,
            "alphas_cumprod": cumulative,
            "sqrt_alphas_cumprod": cumulative.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - cumulative).sqrt(),
            "reciprocal_sqrt_alphas": (1 / alphas).sqrt(),
            "remove_noise_coeff": betas / (1 - cumulative).sqrt(),
            "sigma": betas.sqrt(),
        }
        for name, value in schedule.items():
            self.register_buffer(name, value.float())
        self.model = unet
        self.prediction = prediction

    @property
    def num_timesteps(self) -> int:
        return len(self.betas)

    def loss(self, image: Tensor, condition: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Charbonnier distance (scalar, mean over all elements) between the prediction and the true noise, or
        the true image where that is predicted.

        `image` (B, 3, H, W) is the blurred image, `timesteps` (B,) int64 in 0..T-1, `noise` standard normal
        of the image's shape.
        """
        predicted = self._predict(self.q_sample(image, timesteps, noise), condition, timesteps)
        target = noise if self.prediction == "noise" else image
        return ((predicted - target).square() + CHARBONNIER_EPS**2).sqrt().mean()

    def q_sample(self, image: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """The noisy image of each step in `timesteps` (B,): forward process, (B, 3, H, W)."""
        return (
            _per_sample(self.sqrt_alphas_cumprod, timesteps) * image
            + _per_sample(self.sqrt_one_minus_alphas_cumprod, timesteps) * noise
        )

    def remove_noise(self, noisy: Tensor, condition: Tensor, timesteps: Tensor) -> Tensor:
        """The mean of the image one ancestral step before `timesteps` (B,), (B, 3, H, W)."""
        predicted = self._predict_noise(noisy, condition, timesteps)
        return (noisy - _per_sample(self.remove_noise_coeff, timesteps) * predicted) * _per_sample(
            self.reciprocal_sqrt_alphas, timesteps
        )

    @torch.no_grad()
    def ddim_sample(
        self,
        condition: Tensor,
        noise: Tensor,
        steps: int = 20,
        eta: float = 0.0,
        generator: torch.Generator | Draw | None = None,
        start: float = 1.0,
    ) -> Tensor:
        """Blurred images (B, 3, H, W) for conditions (B, 6, H, W) from initial noise (B, 3, H, W), by DDIM.

        Nothing is clamped: the caller clamps the result to [-0.5, 0.5]. `eta` in [0, 1] scales the noise
        added at each step, drawn from `generator` (a torch.Generator, a Draw, or None for torch's global
        state); 0 draws nothing. With a `start` below 1, sampling starts at that share of the schedule, from
        the sharp image with as much noise. Raises ValueError for a wrong `eta` or `start`, wrong shapes,
        `steps` outside 1..T // 2, or a single step with a network that predicts the noise.
        """
        self._check(condition, noise, steps)
        if not 0 <= eta <= 1:
            raise ValueError(f"expected eta in [0, 1], got {eta}")
        visited = ddim_timesteps(self.num_timesteps, steps, start)
        draw = _as_draw(generator, noise)
        x = self._started(condition, noise, visited[0][0], start)
        for k, (step, previous) in enumerate(visited, start=1):
            now, before = self.alphas_cumprod[step], self.alphas_cumprod[previous]
            predicted = self._predict_noise(x, condition, self._same_step(step, x))
            clean = (x - (1 - now).sqrt() * predicted) / now.sqrt()
            deviation = eta * ((1 - before) / (1 - now) * (1 - now / before)).sqrt()
            x = before.sqrt() * clean + (1 - before - deviation.square()).sqrt() * predicted
            if eta > 0:
                x = x + deviation * draw(k, x.shape)
        return x

    @torch.no_grad()
    def dpm_sample(
        self,
        condition: Tensor,
        noise: Tensor,
        steps: int = 10,
        start: float = 1.0,
        visited: Sequence[tuple[int, int]] | None = None,
        order: int = 2,
    ) -> Tensor:
        """Blurred images as `ddim_sample` makes them (`eta` 0), by DPM-Solver++(2M) in equal steps of log-SNR.

        From the image predicted at this step and at the one before, the next is extrapolated; the first and
        the last step have nothing or too much to extrapolate from, so they are of order 1. Predicted images
        are clamped to [-0.5, 0.5]. visited: other pairs (t, next); order 1: DDIM in these pairs. Source: Lu
        et al., "DPM-Solver++" (2022), algorithm 2. Raises ValueError as `ddim_sample`.
        """
        self._check(condition, noise, steps)
        # Read once: a GPU would have to come to rest for each value that the steps need.
        schedule = self.alphas_cumprod.cpu()
        visited = visited or log_snr_timesteps(schedule, steps, start)
        level = log_snr(schedule.double()).tolist()
        x, before, width = self._started(condition, noise, visited[0][0], start), None, 0.0
        for index, (step, following) in enumerate(visited):
            now, then = self.alphas_cumprod[step], self.alphas_cumprod[following]
            predicted = self._predict_noise(x, condition, self._same_step(step, x))
            clean = ((x - (1 - now).sqrt() * predicted) / now.sqrt()).clamp(-0.5, 0.5)
            h, image = level[following] - level[step], clean
            if order == 2 and 0 < index < len(visited) - 1:
                image = clean + (clean - before) * (h / (2 * width))
            x = ((1 - then) / (1 - now)).sqrt() * x - then.sqrt() * math.expm1(-h) * image
            before, width = clean, h
        return x

    @torch.no_grad()
    def ddpm_sample(
        self,
        condition: Tensor,
        noise: Tensor,
        generator: torch.Generator | Draw | None = None,
    ) -> Tensor:
        """Blurred images (B, 3, H, W) for conditions (B, 6, H, W) by ancestral sampling over all T steps.

        `noise`, `generator` and the unclamped result are as in `ddim_sample`. Raises ValueError for wrong
        shapes.
        """
        _check_shapes(condition, noise)
        draw = _as_draw(generator, noise)
        x = noise
        for k, step in enumerate(reversed(range(self.num_timesteps)), start=1):
            x = self.remove_noise(x, condition, self._same_step(step, x))
            if step > 0:
                x = x + self.sigma[step] * draw(k, x.shape)
        return x

    def _check(self, condition: Tensor, noise: Tensor, steps: int) -> None:
        _check_shapes(condition, noise)
        if steps == 1 and self.prediction == "noise":
            raise ValueError(ONE_STEP)

    def _started(self, condition: Tensor, noise: Tensor, step: int, start: float) -> Tensor:
        """What sampling starts from: noise, or the sharp image with the noise of its first timestep."""
        if start == 1:
            return noise
        return self.q_sample(condition[:, :3], self._same_step(step, noise), noise)

    def _predict(self, noisy: Tensor, condition: Tensor, timesteps: Tensor) -> Tensor:
        # Under autocast the network answers in half precision, in which the small coefficients would be lost.
        return self.model(torch.cat([noisy, condition], dim=1), timesteps).to(noisy.dtype)

    def _predict_noise(self, noisy: Tensor, condition: Tensor, timesteps: Tensor) -> Tensor:
        predicted = self._predict(noisy, condition, timesteps)
        if self.prediction == "noise":
            return predicted
        return (noisy - _per_sample(self.sqrt_alphas_cumprod, timesteps) * predicted) / _per_sample(
            self.sqrt_one_minus_alphas_cumprod, timesteps
        )

    @staticmethod
    def _same_step(step: int, x: Tensor) -> Tensor:
        return torch.full((x.shape[0],), step, dtype=torch.int64, device=x.device)


def _per_sample(coefficients: Tensor, timesteps: Tensor) -> Tensor:
    return coefficients[timesteps][:, None, None, None]


def _check_shapes(condition: Tensor, noise: Tensor) -> None:
    batch, _, height, width = condition.shape
    if condition.shape[1] != 6 or noise.shape != (batch, 3, height, width):
        raise ValueError(
            f"expected condition (B, 6, H, W) and noise (B, 3, H, W), "
            f"got {tuple(condition.shape)} and {tuple(noise.shape)}"
        )


def _as_draw(generator: torch.Generator | Draw | None, like: Tensor) -> Draw:
    """One way to draw, whatever the caller gave; the tensors have the device and dtype of `like`."""
    if callable(generator):
        return lambda k, shape: generator(k, shape).to(like)
    device = like.device if generator is None else generator.device
    return lambda k, shape: torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like)
