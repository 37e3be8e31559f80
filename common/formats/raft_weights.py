"""RAFT's weights: torchvision's own files, and those of its authors under torchvision's keys."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from common.errors import UserError

PRINCETON_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^fnet\.", "feature_encoder."),
        (r"^cnet\.", "context_encoder."),
        (r"^(feature_encoder|context_encoder)\.conv1\.", r"\1.convnormrelu.0."),
        (r"^(feature_encoder|context_encoder)\.norm1\.", r"\1.convnormrelu.1."),
        (r"^(feature_encoder|context_encoder)\.conv2\.", r"\1.conv."),
        (r"\.(layer\d\.\d)\.conv(\d)\.", r".\1.convnormrelu\2.0."),
        (r"\.(layer\d\.\d)\.norm(\d)\.", r".\1.convnormrelu\2.1."),
        (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
        (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
        (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
        (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
        (r"^update_block\.gru\.conv([zrq])\.", r"update_block.recurrent_block.convgru1.conv\1."),
        (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
        (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
    )
)


TORCHVISION = Path("torchvision")
"""What `dbcgm.weights` is for torchvision's own files: the authors' weights in its format."""
_TORCHVISION_FILES = {"raft_large": "Raft_Large_Weights", "raft_small": "Raft_Small_Weights"}


def weights_file(name: str, weights: Path | None) -> Path | None:
    """`weights` as a file: for `TORCHVISION` that of the flow `name`, downloaded into PyTorch's cache on first
    use and checked. Raises UserError where it cannot be had."""
    if weights != TORCHVISION or name not in _TORCHVISION_FILES:
        return weights
    # Imported here, because it takes a second that no other weights need.
    from torchvision.models import optical_flow

    found = getattr(optical_flow, _TORCHVISION_FILES[name]).C_T_V1
    path = Path(torch.hub.get_dir()) / "checkpoints" / found.url.rpartition("/")[2]
    if not path.is_file():
        try:
            found.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"dbcgm.weights: {found.url} cannot be downloaded ({getattr(error, 'reason', error)}); "
                f"put the file to {path}, or set its path"
            ) from None
    return path


def princeton_to_torchvision(state: Mapping[str, Tensor], small: bool) -> dict[str, Tensor]:
    """A princeton-vl RAFT state dict, with or without the leading `module.`, under torchvision's keys.

    The large model's files hold the normalisation of a shortcut twice; the copies are dropped. (In the small
    model the copies would be `norm4`, while `norm3` is a normalisation of its own.)
    """
    duplicate = re.compile(rf"^(fnet|cnet)\.layer\d\.\d\.norm{4 if small else 3}\.")
    converted = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if duplicate.match(key):
            continue
        for pattern, replacement in PRINCETON_RULES:
            key = pattern.sub(replacement, key)
        converted[key] = value
    return converted
