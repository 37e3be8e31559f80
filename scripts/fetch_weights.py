"""Download the published weights that can be had without a browser, and say where the others are.

Writes   weights/<network>/<file>, where the configurations expect it, checked and whole or not at all
Usage    python scripts/fetch_weights.py                  # all of them
         python scripts/fetch_weights.py ID_Blau RAFT     # these
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.checkpoints import sha256
from common.errors import UserError
from common.runtime.entry import run
from common.runtime.locks import hold
from scripts.check_weights import identify
from scripts.preparation.download import LIMIT, download
from scripts.preparation.published_weights import WEIGHTS, Published

ROOT = Path(__file__).resolve().parents[1] / "weights"


def main() -> None:
    """Fetch what the command line names; exit code 2 when a download fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(WEIGHTS)} (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT, help="folder for the files (default weights/)")
    parser.add_argument(
        "--mirror", metavar="URL", help="take all files, under their names, from this address instead"
    )
    parser.add_argument("--limit", type=int, default=LIMIT, help="largest size in bytes (default 1 GiB)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in WEIGHTS]
    if unknown:
        raise UserError(f"{', '.join(unknown)}: no such weights; there are {', '.join(WEIGHTS)}")
    # Two downloads of a file would add to the same part of it.
    hold(options.out)
    failed = []
    for name in options.names or WEIGHTS:
        try:
            print(fetched(WEIGHTS[name], options.out, options.mirror, options.limit))
        except UserError as error:
            print(f"{name}: failed: {error}")
            failed.append(name)
    if failed:
        raise UserError(f"not downloaded: {', '.join(failed)}, see above")


def fetched(weights: Published, out: Path, mirror: str | None, limit: int) -> str:
    """One file's line: that it was there, was downloaded, or where it is to be had."""
    path, url = out / weights.place, weights.url
    if path.exists():
        return f"{path}: is there, {_identified(weights, path)}"
    if mirror is not None:
        url = f"{mirror.rstrip('/')}/{(url or path.name).rpartition('/')[2]}"
    if url is None:
        return f"{path}: missing, and not to be had without a browser; see {weights.page}, put the file there"
    found = download(url, path, lambda part: _identified(weights, part, weights.digest), limit)
    about = f" ({weights.about})" if weights.about else ""
    return f"{path}: downloaded{about}, {found}"


def _identified(weights: Published, path: Path, digest: str = "") -> str:
    """Network and SHA-256 of a file; UserError where it is another network, or its SHA-256 does not begin with
    `digest`. A file that was put there by hand may be of another edition."""
    found, hashed = identify(path), sha256(path)
    if found is None or not found.startswith(weights.network):
        raise UserError(f"{path}: is {found or 'no known network'}, not {weights.network}")
    if not hashed.startswith(digest):
        raise UserError(f"{path}: SHA-256 {hashed} does not begin with {digest}")
    return f"{found}, SHA-256 {hashed}"


if __name__ == "__main__":
    run(main)
