"""One self-contained page of what the four stages left in an output folder: pictures, curves, figures,
settings.

Reads    everything below OUTPUT, and the frames of the data set it was made from
Writes   OUTPUT/report.html, or the file that --out names
Usage    python scripts/report.py outputs/demo
         python scripts/report.py --config configs/demo.yaml
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import environment

if __name__ == "__main__":
    environment.require()

from common.config import Config, require
from common.config_loader import load_config
from common.errors import UserError
from common.layout import Layout
from common.runtime.command_line import add_config_options
from common.runtime.entry import run
from scripts.reporting.page import make_report


def main() -> None:
    """Make the report and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, nargs="?", metavar="OUTPUT", help="the stages' output folder")
    add_config_options(
        parser,
        "take the output folder from this configuration instead",
        overwrite="changes nothing, a report is always made anew: so that a stage's options are accepted",
    )
    parser.add_argument("--out", type=Path, help="file to write (default: OUTPUT/report.html)")
    options = parser.parse_args()
    if (options.output is None) == (options.config is None):
        raise UserError(
            "name the stages' output folder or --config, as in python scripts/report.py outputs/demo"
        )
    output = options.output
    if output is None:
        config = load_config(Config, options.config, options.overrides)
        output = require(config.output, "output", "folder for all results")
    print(f"report: look at {make_report(output, options.out or Layout(output).report)}")


if __name__ == "__main__":
    run(main)
