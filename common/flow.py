"""Optical flow: RAFT (torchvision's network, princeton-vl's or torchvision's weights) or OpenCV's DIS."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.checkpoints import load_state, load_state_into
from common.errors import UserError
from common.formats.raft_weights import princeton_to_torchvision, weights_file
from common.formats.weights_keys import bare
from common.runtime.memory import halving
from common.runtime.plugins import is_own, load
from common.stage import groups


class Flow(Protocol):
    """An optical flow estimator. Channel 0 points right, 1 down; first(p) = second(p + flow(p))."""

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Two RGB images (B, 3, H, W), 0..255, any size -> flow (B, 2, H, W) float32, pixels, on the images'
        device.

        Raises ValueError for other shapes.
        """

    def between(self, images: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """RGB images (N, 3, H, W) as above -> flow (P, 2, H, W) from image a to image b for each of the P
        pairs (a, b).

        What depends on one image alone is computed once for it, in however many pairs it is. Raises
        ValueError for another shape.
        """


RAFT = ("raft_large", "raft_small")
NAMES = (*RAFT, "dis")

RAFT_MULTIPLE = 8
RAFT_MIN_SIDE = 128  # below it the coarsest correlation level is one cell and the lookup divides by zero
DIS_MIN_SIDE = 16  # below it OpenCV's medium preset fails, or crashes the process


def load_flow(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    iterations: int = 20,
) -> Flow:
    """The flow estimator `name`: raft_large, raft_small, dis, or one of your own (see `OwnFlow`).

    `weights` is a file in the format of princeton-vl (raft-things.pth) or torchvision, or `TORCHVISION`, and is
    required for RAFT; `device` and the number of updates, `iterations`, concern RAFT alone. Raises UserError for an
    unknown name, missing or superfluous weights, a file that does not fit, or fewer than one iteration.
    """
    if is_own(name):
        return _own_flow(name, weights, device)
    if name not in NAMES:
        raise UserError(f"dbcgm.flow: unknown flow {name!r}; choose one of {', '.join(NAMES)}")
    if name == "dis":
        if weights is not None:
            raise UserError(
                f"dbcgm.weights: dis takes no weights, got {weights}; "
                f"remove the key or choose dbcgm.flow: raft_large"
            )
        return DisFlow()
    if iterations < 1:
        raise UserError(f"dbcgm.iterations: expected at least 1, got {iterations}")
    if weights is None:
        published = "raft-things.pth" if name == "raft_large" else "raft-small.pth"
        raise UserError(
            f"dbcgm.weights: {name} needs a weights file ({published} of princeton-vl/RAFT); set its path, or the "
            "word torchvision, which downloads it, or set dbcgm.flow: dis, which needs none"
        )
    weights = weights_file(name, Path(weights))
    state = bare(load_state(weights))
    if any(key.startswith(("fnet.", "cnet.")) for key in state):
        state = princeton_to_torchvision(state, small=name == "raft_small")
    network = raft_network(name)
    load_state_into(network, state, source=str(weights))
    return RaftFlow(network.to(device), iterations)


def raft_network(name: str) -> nn.Module:
    """torchvision's RAFT, raft_large or raft_small, with random weights."""
    # Imported here, because it takes a second that DIS does not need.
    from torchvision.models import optical_flow

    return getattr(optical_flow, name)(weights=None)


class RaftFlow:
    """A `Flow` by a torchvision RAFT network, with images padded as the network's authors do. The network is
    this object's from then on: its parts are put behind others that compute less."""

    def __init__(self, network: nn.Module, iterations: int = 20) -> None:
        self.network = network.eval()
        self.iterations = iterations
        self.device = next(network.parameters()).device
        self._features = network.feature_encoder = _Prepared(network.feature_encoder)
        self._context = network.context_encoder = _Prepared(network.context_encoder)
        if network.mask_predictor is not None:
            network.mask_predictor = _OnlyLast(network.mask_predictor, iterations)
        self._together: int | None = None

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        _check_images(first, second)
        return self.between(
            torch.cat([first, second]), [(index, len(first) + index) for index in range(len(first))]
        )

    @torch.no_grad()
    def between(self, images: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        _check_images(images, images)
        margins = tuple(
            _margins(side, max(RAFT_MIN_SIDE, -(-side // RAFT_MULTIPLE) * RAFT_MULTIPLE))
            for side in images.shape[-2:]
        )
        padded = _pad(images.to(self.device, torch.float32), margins) / 255 * 2 - 1
        # In half precision the correlation volume, and with it the flow, would differ from the published one.
        with torch.autocast(self.device.type, enabled=False):
            features = self._features.network(padded)
            starts = sorted({first for first, _ in pairs})
            contexts = dict(zip(starts, self._context.network(padded[starts])))
            # The volume grows with the square of a frame's pixels, and with the pairs.
            most = min(self._together or len(pairs), len(pairs))
            flow, used = halving(
                lambda size: torch.cat(
                    [self._some(padded, features, contexts, some) for some in groups(list(pairs), size)]
                ),
                most,
                1,
                "optical flow of several pairs of frames",
                lambda text: print(text, flush=True),
            )
        if used < most:
            self._together = used
        (top, _), (left, _) = margins
        height, width = images.shape[-2:]
        return flow[..., top : top + height, left : left + width].to(images.device)

    def _some(
        self,
        padded: Tensor,
        features: Tensor,
        contexts: dict[int, Tensor],
        pairs: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Flows of `pairs` (P, 2, H, W) between padded images, whose encodings are known."""
        first, second = map(list, zip(*pairs))
        self._features.prepared = features[first + second]
        self._context.prepared = torch.stack([contexts[index] for index in first])
        if isinstance(self.network.mask_predictor, _OnlyLast):
            # A call that ran out of memory counted some updates.
            self.network.mask_predictor.calls = 0
        return self.network(padded[first], padded[second], num_flow_updates=self.iterations)[-1]


class _Prepared(nn.Module):
    """Stands for an encoder whose output is known already: returns `prepared`, once."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.prepared: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        prepared, self.prepared = self.prepared, None
        return prepared


class _OnlyLast(nn.Module):
    """The mask of the last update only; torchvision's RAFT predicts one at every update, and only the last is
    used."""

    def __init__(self, predictor: nn.Module, updates: int) -> None:
        super().__init__()
        self.predictor, self.updates, self.calls = predictor, updates, 0

    def forward(self, hidden: Tensor) -> Tensor | None:
        self.calls = (self.calls + 1) % self.updates
        return None if self.calls else self.predictor(hidden)


class DisFlow:
    """A `Flow` by OpenCV's dense inverse search on 8-bit grey images, on the CPU.

    preset: one of OpenCV's DISOPTICAL_FLOW_PRESETs. smoothing: deviation in pixels of a Gaussian before it, 0 for none.
    """

    def __init__(self, preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, smoothing: float = 0.0) -> None:
        self._preset, self._smoothing = preset, smoothing

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        _check_images(first, second)
        return self.between(
            torch.cat([first, second]), [(index, len(first) + index) for index in range(len(first))]
        )

    def between(self, images: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        _check_images(images, images)
        margins = tuple(_margins(side, max(DIS_MIN_SIDE, side)) for side in images.shape[-2:])
        (top, _), (left, _) = margins
        height, width = images.shape[-2:]
        grey, flows = _grey(images, margins), []
        if self._smoothing:
            grey = [cv2.GaussianBlur(picture, (0, 0), self._smoothing) for picture in grey]
        for first, second in pairs:
            # A new estimator for each pair: OpenCV's keeps the scales chosen for an earlier, smaller image.
            estimator = cv2.DISOpticalFlow_create(self._preset)
            flows.append(
                estimator.calc(grey[first], grey[second], None)[top : top + height, left : left + width]
            )
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(images.device)


class OwnFlow:
    """A `Flow` by a class of the user's own, built without arguments: called with two images as `Flow` is.

    Raises UserError where it returns anything but finite float (B, 2, H, W).
    """

    def __init__(self, name: str, estimate: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._name, self._estimate = name, estimate

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        _check_images(first, second)
        with torch.no_grad():
            flow = self._estimate(first.float(), second.float())
        expected = (len(first), 2, *first.shape[2:])
        if not isinstance(flow, Tensor) or flow.shape != expected or not flow.isfinite().all():
            found = tuple(flow.shape) if isinstance(flow, Tensor) else type(flow).__name__
            raise UserError(
                f"dbcgm.flow: {self._name} has to return finite values {expected} for images "
                f"{tuple(first.shape)}, found {found}"
            )
        return flow.float().to(first.device)

    def between(self, images: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        return torch.cat([self(images[a : a + 1], images[b : b + 1]) for a, b in pairs])


def _own_flow(name: str, weights: str | Path | None, device: str | torch.device) -> OwnFlow:
    try:
        estimate = load(name, "dbcgm.flow")()
    except (TypeError, ValueError) as error:
        raise UserError(str(error) if str(error).startswith("dbcgm") else f"dbcgm.flow: {error}") from None
    if isinstance(estimate, nn.Module):
        if weights is not None:
            load_state_into(estimate, load_state(weights), source=str(weights))
        estimate = estimate.to(device).eval()
    elif weights is not None:
        raise UserError(f"dbcgm.weights: {name} is no torch module and takes no weights; remove the key")
    return OwnFlow(name, estimate)


def _check_images(first: Tensor, second: Tensor) -> None:
    if first.ndim != 4 or first.shape[1] != 3 or first.shape != second.shape or 0 in first.shape:
        raise ValueError(
            f"expected two images (B, 3, H, W) of one size, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def _margins(side: int, padded: int) -> tuple[int, int]:
    before = (padded - side) // 2
    return before, padded - side - before


def _pad(images: Tensor, margins: tuple[tuple[int, int], ...]) -> Tensor:
    (top, bottom), (left, right) = margins
    return F.pad(images, (left, right, top, bottom), mode="replicate")


def _grey(images: Tensor, margins: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    padded = _pad(images.detach().cpu().float(), margins).round().clamp(0, 255).to(torch.uint8)
    return [
        cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        for image in padded.permute(0, 2, 3, 1).numpy()
    ]
