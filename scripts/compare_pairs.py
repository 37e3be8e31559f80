"""What other pairs teach the network: stage 4 again on the same results of stages 1 to 3, and one table of all.

Reads    <output>/{rsdm,dbcgm,blurring,deblurring} of a run with ground truth
Writes   <output>/pairs/<kind>/deblurring                      stage 4's results with deblurring.pairs <kind>
         <output>/deblurring/<model>/metrics.json              their figures, beside the run's own
Usage    python scripts/compare_pairs.py --config configs/demo.yaml --pairs both aligned
"""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.config import Config, require
from common.config_loader import load_config
from common.errors import UserError
from common.layout import ADAPTED, ALIGNED, BASELINE, FUSED, REHEARSAL, Layout, NetworkLayout
from common.runtime.command_line import add_config_options
from common.runtime.entry import run
from common.runtime.files import read_json, write_json
from common.runtime.locks import hold
from DeblurringModel.evaluation import table
from DeblurringModel.variants import PAIRS, how_adapted, network_layout
from scripts.evaluation.runner import ROOT, StageFailed, assign, call, share

HINT = "run the four stages on footage with ground truth first"


def main() -> None:
    """Run, gather, print."""
    options = parse()
    config = load_config(Config, options.config, options.overrides)
    output, own = require(config.output, "output", HINT), network_layout(config)
    if not own.metrics.exists():
        raise UserError(f"{own.metrics}: missing; {HINT}")
    hold(output / "pairs")
    for kind in options.pairs:
        if kind != config.deblurring.pairs:
            adapt(kind, output, config, options)
    figures = read_json(own.metrics)
    for kind in options.pairs:
        if kind != config.deblurring.pairs:
            other = read_json(network_layout_of(output / "pairs" / kind, config).metrics)
            figures |= {f"{name}_{kind}": other[name] for name in (ADAPTED, FUSED) if name in other}
    write_json(own.metrics, figures)
    print(table(figures, f"{own.name} on {config.dataset.root.name}", how_adapted(config.deblurring)))


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pairs", nargs="+", choices=list(PAIRS), default=["both"], help="values of deblurring.pairs"
    )
    add_config_options(parser, "the run's configuration", required=True, overwrite="make them again")
    return parser.parse_args()


def adapt(kind: str, output: Path, config: Config, options: argparse.Namespace) -> None:
    """Stage 4 with pairs of one kind; what does not depend on them is the run's own."""
    folder = output / "pairs" / kind
    if options.overwrite:
        # Not the stage's own --overwrite: it would make what is shared again.
        shutil.rmtree(folder, ignore_errors=True)
    for result in ("rsdm", "dbcgm", "blurring"):
        share(output / result, folder / result)
    own, other = network_layout(config), network_layout_of(folder, config)
    for variant in (BASELINE, REHEARSAL, ALIGNED):
        if own.variant(variant).exists():
            share(own.variant(variant), other.variant(variant))
    overrides = [*options.overrides, f"deblurring.pairs={kind}", assign("output", folder)]
    command = [sys.executable, str(ROOT / "DeblurringModel" / "main.py"), "--config", str(options.config)]
    try:
        call([*command, "--set", *overrides])
    except StageFailed as failure:
        raise UserError(f"deblurring.pairs {kind}: {failure}") from None


def network_layout_of(folder: Path, config: Config) -> NetworkLayout:
    """The network's files below another output folder."""
    return Layout(folder).network(config.deblurring.model)


if __name__ == "__main__":
    run(main)
