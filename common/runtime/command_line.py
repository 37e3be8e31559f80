"""The part of the command line that stages, trainers and scripts share."""

import argparse
from pathlib import Path


def add_config_options(
    parser: argparse.ArgumentParser,
    config: str,
    default: Path | None = None,
    *,
    required: bool = False,
    keys: str = "change single keys of the configuration",
    overwrite: str | None = None,
) -> None:
    """Add `--config FILE`, `--set section.key=value ...` (as `overrides`) and, where it has a help text,
    `--overwrite`.

    config, keys: help texts of the first two. default: the file without `--config`.
    """
    parser.add_argument("--config", type=Path, default=default, required=required, help=config)
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="section.key=value",
        help=keys,
    )
    if overwrite is not None:
        parser.add_argument("--overwrite", action="store_true", help=overwrite)
