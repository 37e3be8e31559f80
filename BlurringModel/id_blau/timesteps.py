"""Which timesteps a sampler visits. Timesteps count from 0 (nearly no noise) to T - 1 (pure noise)."""

import math

import torch
from torch import Tensor


def ddim_timesteps(num_timesteps: int, steps: int, start: float = 1.0) -> list[tuple[int, int]]:
    """The pairs (t, previous) that DDIM visits, from the noisiest to (1, 0); with one step, only the
    noisiest.

    At t = 1 a network that predicts the image may return its noisy input, which is pure noise at the start of
    sampling. At the noisiest step it has to make the image from its condition. Where `steps` does
    not divide `num_timesteps` the top steps are never visited, as in the released code. `start`: the share of
    the schedule that is used; with 0.5 the noisier half of the same pairs is left out.
    Raises ValueError unless 1 <= steps <= num_timesteps // 2 and 0 < start <= 1.
    """
    check_steps(num_timesteps, steps, start)
    noisiest = first_timestep(num_timesteps, start)
    if steps == 1:
        return [(noisiest, 0)]
    stride = num_timesteps // steps
    # The grid's timesteps are one above the multiples of its stride.
    visited = [step for step in (1 + index * stride for index in range(steps)) if step <= noisiest + 1]
    return list(zip(reversed(visited), reversed([0, *visited[:-1]])))


def first_timestep(num_timesteps: int, start: float) -> int:
    """The noisiest timestep of a share of the schedule, at least 1."""
    return max(1, min(num_timesteps - 1, round(start * num_timesteps)))


def log_snr_timesteps(alphas_cumprod: Tensor, steps: int, start: float = 1.0) -> list[tuple[int, int]]:
    """The pairs (t, next) of `steps` evaluations in equal steps of log-SNR, from the noisiest timestep to 0.

    lambda = ln(alpha / sigma) with alpha^2 = alphas_cumprod (T,); each node is the nearest timestep, and none
    comes twice. Source: Lu et al., "DPM-Solver++" (2022). Raises ValueError as `ddim_timesteps`.
    """
    check_steps(len(alphas_cumprod), steps, start)
    levels = log_snr(alphas_cumprod.double())
    noisiest = first_timestep(len(levels), start)
    if noisiest < steps:
        raise ValueError(f"{steps} steps do not fit into {noisiest} timesteps")
    wanted = torch.linspace(float(levels[noisiest]), float(levels[0]), steps + 1, dtype=torch.float64)
    nodes = [noisiest]
    for index in range(1, steps + 1):
        nearest = int((levels - wanted[index]).abs().argmin())
        # At least as many timesteps have to be left as there are nodes to come.
        nodes.append(max(min(nearest, nodes[-1] - 1), steps - index))
    return list(zip(nodes, nodes[1:]))


def log_snr(alphas_cumprod: Tensor) -> Tensor:
    """ln(alpha / sigma) of each timestep, of the shape of `alphas_cumprod`."""
    return 0.5 * (alphas_cumprod / (1 - alphas_cumprod)).log()


def check_steps(num_timesteps: int, steps: int, start: float) -> None:
    """ValueError for a number of steps, or a share of the schedule, that no sampler can visit."""
    if not 1 <= steps <= num_timesteps // 2:
        raise ValueError(
            f"expected 1 to {num_timesteps // 2} steps (half of the {num_timesteps} timesteps), got {steps}"
        )
    if not (math.isfinite(start) and 0 < start <= 1):
        raise ValueError(f"expected a start above 0 and at most 1, got {start}")
