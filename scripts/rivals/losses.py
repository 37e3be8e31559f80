"""Losses of the rivals: pure functions that return a scalar, in float32 at least.

Pictures are RGB in [0, 1], (B, 3, H, W), not clamped. Scores are what a `Critic` gives, of any shape.
"""

import torch.nn.functional as F
from torch import Tensor

from DeblurringModel.losses import charbonnier

EPSILON = 1e-3
"""The constant in all Charbonnier losses."""
EDGES = 0.05
"""Weight of the Laplacians (Liu et al., BMVC 2022)."""


def laplacian(picture: Tensor) -> Tensor:
    """Sum of the four neighbours of each pixel minus four times the pixel, of every colour: (B, C, H, W) -> the
    same shape. Beyond the border the nearest pixel counts."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    vertical = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    horizontal = padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return vertical + horizontal - 4 * picture


def reblurring_distance(reblurred: Tensor, blurry: Tensor) -> Tensor:
    """`charbonnier` of the pictures + EDGES `charbonnier` of their Laplacians (Liu et al., BMVC 2022)."""
    edges = charbonnier(laplacian(reblurred), laplacian(blurry), EPSILON)
    return charbonnier(reblurred, blurry, EPSILON) + EDGES * edges


def cycle(restored: Tensor, patch: Tensor) -> Tensor:
    """How far a patch that was reblurred and restored is from itself: `charbonnier`."""
    return charbonnier(restored, patch, EPSILON)


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What a Wasserstein critic makes small: mean score of the fakes minus that of the real ones (Arjovsky et al.,
    Wasserstein GAN, ICML 2017)."""
    return fake.float().mean() - real.float().mean()


def adversarial(real: Tensor, fake: Tensor) -> Tensor:
    """What the maker of the fakes makes small: mean score of the real ones minus that of the fakes.

    Its gradient is that of the usual loss, minus the mean score of the fakes. Scores have no fixed zero; with the
    real ones counted, the loss is 0 where the critic sees no difference.
    """
    return -critic_loss(real, fake)
