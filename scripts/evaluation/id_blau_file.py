"""How an ID-Blau is to be sampled, as its file says, and where it does not, as the command line says."""

import argparse
from pathlib import Path
from typing import Any

from BlurringModel.id_blau.diffusion import PREDICTIONS
from common.checkpoints import load_checkpoint, stored_entry
from common.config import BlurringConfig
from common.constants import MAGNITUDE_SCALE
from common.errors import UserError


def add_unsaid(parser: argparse.ArgumentParser) -> None:
    """Options for what a file does not say."""
    parser.add_argument(
        "--magnitude-scale",
        type=float,
        default=MAGNITUDE_SCALE,
        help="pixels that stand for magnitude 1, for files that do not say (default 205; its own authors: 147)",
    )
    parser.add_argument(
        "--prediction",
        choices=PREDICTIONS,
        default="noise",
        help="what an ID-Blau predicts, for files that do not say (default noise, as published)",
    )


def unsaid_of(options: argparse.Namespace) -> dict[str, Any]:
    """The values of `add_unsaid`'s options, by the configuration's keys."""
    return {"magnitude_scale": options.magnitude_scale, "prediction": options.prediction}


def sampling_of(path: Path, unsaid: dict[str, Any], **settings: Any) -> BlurringConfig:
    """The configuration that samples the file's network. unsaid: settings for what the file does not say.
    settings: further ones."""
    stored = {name: stored_entry(path, name) for name in ("prediction", "direction", "magnitude_scale")}
    known = unsaid | {name: fact for name, fact in stored.items() if fact}
    return BlurringConfig(weights=path, architecture=stored_architecture(path), **known, **settings)


def stored_architecture(path: Path) -> dict[str, Any]:
    """The architecture that one of this project's checkpoints names, or an empty one (published values)."""
    try:
        return dict(load_checkpoint(path).get("architecture") or {})
    except UserError:
        return {}
