"""Restore a video clip by clip, in tiles where frames are large for the memory."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from common.config import Config
from common.errors import UserError
from common.images import pad_to_multiple, to_image, to_tensor
from common.runtime.distributed import mixed_precision
from common.runtime.memory import halving
from common.videos import Video, VideoFrames
from DeblurringModel import models
from DeblurringModel.inference.clips import Clip, cut
from DeblurringModel.inference.tiles import Tile, blend, tiles

LEAST_TILE = 128


def clips_of(video: Video, spec: models.Spec, length: int, overlap: int, borders: str) -> list[Clip]:
    """The video's clips of `length` frames (0: the network's own length)."""
    try:
        return cut(len(video.frames), spec.past, spec.future, length or spec.clip_length, borders, overlap)
    except ValueError as error:
        raise UserError(f"deblurring.clip_length: {error} ({video.name})") from None


def restored_frames(
    network: nn.Module,
    spec: models.Spec,
    video: Video,
    clips: Iterable[Clip],
    config: Config,
    device: torch.device,
    say: Callable[[str], None],
) -> Iterator[tuple[int, np.ndarray]]:
    """Restore the clips one after the other: (position in the video, picture uint8 RGB (H, W, 3)) of their
    frames.

    Tiles as deblurring.tile says, smaller ones from where memory does not suffice: `say` is told. Raises UserError for
    frames of different sizes, and where the network returns values that are not finite.
    """
    restorer = Restorer(network, spec, config, device, say, VideoFrames(video).read)
    for clip in clips:
        pictures = restorer.restore(clip)
        yield from ((position, pictures[index]) for index, position in clip.outputs)


class Restorer:
    """Clips of one video through one network. What depends on a single frame only is kept for the next
    clip."""

    def __init__(
        self,
        network: nn.Module,
        spec: models.Spec,
        config: Config,
        device: torch.device,
        say: Callable[[str], None],
        read: Callable[[int], np.ndarray],
    ) -> None:
        self._network, self._spec, self._config, self._device = network, spec, config, device
        self._say, self._read = say, read
        self._side = config.deblurring.tile
        # ESTRNN encodes each frame by itself: once per frame, not once per clip. (A custom network's methods
        # of these names may do anything.)
        self._split = config.deblurring.model in models.names() and hasattr(network, "encode")
        self._prepared: dict[tuple[int, Tile], Tensor] = {}
        self._images: dict[int, np.ndarray] = {}

    def restore(self, clip: Clip) -> np.ndarray:
        """The clip's restored frames, uint8 RGB (T, H, W, 3)."""
        restored = self.restored(clip)
        if not torch.isfinite(restored).all():
            raise UserError(
                f"deblurring.model: {self._spec.class_name} returned values that are not finite for "
                f"{self._config.dataset.root}, frames from position {clip.inputs[0]} on; use other "
                "weights, or runtime.precision fp32"
            )
        return to_image(restored)

    def restored(self, clip: Clip) -> Tensor:
        """The clip's restored frames (T, 3, H, W), RGB in [0, 1], as the network gives them."""
        self._images = {
            position: self._images[position] if position in self._images else self._read(position)
            for position in dict.fromkeys(clip.inputs)
        }
        height, width = self._images[clip.inputs[0]].shape[:2]
        whole = self._side or max(height, width)
        restored, side = halving(
            lambda side: self._tiled(clip, height, width, side),
            whole,
            min(LEAST_TILE, whole),
            "deblurring.tile",
            self._say,
        )
        if side != whole:
            self._side = side
        return restored

    def _tiled(self, clip: Clip, height: int, width: int, side: int) -> Tensor:
        """Restored frames (T, 3, H, W), RGB in [0, 1], not clamped."""
        overlap = min(self._config.deblurring.tile_overlap, side // 4)
        places = tiles(height, width, side, overlap, self._spec.multiple)
        self._prepared = {
            key: value for key, value in self._prepared.items() if key[0] in clip.inputs and key[1] in places
        }
        return blend([self._part(clip, place) for place in places], places, overlap)

    def _part(self, clip: Clip, place: Tile) -> Tensor:
        """One tile of the clip restored: (T, 3, h, w), RGB in [0, 1], not clamped."""
        spec, order, device = self._spec, self._config.deblurring.channel_order, self._device
        network, (r0, c0, r1, c1) = self._network, place
        with torch.inference_mode(), mixed_precision(network, device, self._config.runtime.precision):
            for position in dict.fromkeys(clip.inputs):
                if (position, place) not in self._prepared:
                    image = models.to_range(to_tensor(self._images[position][r0:r1, c0:c1]), spec, order)
                    given = pad_to_multiple(image, spec.multiple, spec.minimum).to(device)
                    self._prepared[position, place] = network.encode(given[None])[0] if self._split else given
            stacked = torch.stack([self._prepared[position, place] for position in clip.inputs])[None]
            restored = (
                network.decode(stacked) if self._split else models.checked(network(stacked), stacked, spec)
            )
        return models.to_rgb(restored[0, :, :, : r1 - r0, : c1 - c0], spec, order)
