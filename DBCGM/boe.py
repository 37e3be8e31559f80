"""Blur Orientation Estimator: the direction in which a pixel moves while its frame is exposed."""

from collections.abc import Sequence

import torch
from torch import Tensor

_FLOWS = 4


def orientation(flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
    """Direction of the motion through frame t, from its two neighbours (released code).

    flow_forward, flow_backward: flows f(t, t+1) and f(t, t-1), (..., 2, H, W), x right and y down, pixels.
    Gives float unit vectors (..., 2, H, W) of `central_motion`, and (0, 0) where that is zero. Raises
    ValueError for other or differing shapes, or values that are not finite.
    """
    return unit(central_motion(flow_forward, flow_backward))


def central_motion(flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
    """F_t = (f(t, t+1) - f(t, t-1)) / 2, (..., 2, H, W), pixels per frame interval; flows and errors as
    above."""
    return (_checked(flow_forward, flow_forward) - _checked(flow_backward, flow_forward)) / 2


def five_frame_trajectory(flows: Sequence[Tensor]) -> Tensor:
    """Direction of the motion through frame t, along five frames (paper).

    flows: f(t-2, t-1), f(t-1, t), f(t, t+1), f(t+1, t+2), each (..., 2, H, W), pixels. Gives unit vectors
    (..., 2, H, W) of their sum at co-located pixels (the paper does not follow the pixel), and (0, 0) where
    that is zero. Raises ValueError for another number of flows, other or differing shapes, or values that are
    not finite.
    """
    return unit(five_frame_motion(flows))


def five_frame_motion(flows: Sequence[Tensor]) -> Tensor:
    """A quarter of the sum of the four flows, (..., 2, H, W), pixels per frame interval; flows and errors as
    above.

    (The paper's F_t is the sum; the quarter makes its length comparable to `central_motion`, and leaves the
    direction as it is.)
    """
    if len(flows) != _FLOWS:
        raise ValueError(f"flows: expected {_FLOWS}, got {len(flows)}")
    return sum(_checked(flow, flows[0]) for flow in flows) / _FLOWS


def _checked(flow: Tensor, like: Tensor) -> Tensor:
    if flow.ndim < 3 or flow.shape[-3] != 2 or flow.shape != like.shape:
        raise ValueError(
            f"flows: expected one shape (..., 2, H, W), got {tuple(like.shape)} and {tuple(flow.shape)}"
        )
    if not torch.isfinite(flow).all():
        raise ValueError("flows: expected finite values, got NaN or infinite ones")
    return flow


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., 2, H, W) of length one in the given directions, (0, 0) where there is none."""
    # hypot, because squaring would turn very short vectors into zero.
    length = torch.hypot(vectors[..., 0, :, :], vectors[..., 1, :, :]).unsqueeze(-3)
    return torch.where(length > 0, vectors / length, 0)
