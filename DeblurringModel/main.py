"""Stage 4: restore the videos, fine-tune on the pairs, restore them again, and print before and after.

Reads    <dataset.root>, <output>/rsdm/sharp_regions.json, <output>/blurring, deblurring.weights
Writes   <output>/deblurring/<model>/weights/{last,best,epoch_N}.pth
         <output>/deblurring/<model>/<baseline|adapted|adapted_best_gt>/<video>/<frame>.png
         <output>/deblurring/<model>/aligned/<video>/{picture,weight,source}/<frame>.png and
         <output>/deblurring/<model>/fused/<video>/<frame>.png (with deblurring.fusion aligned)
         <output>/deblurring/<model>/metrics.json (where ground truth exists)
Usage    python DeblurringModel/main.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 DeblurringModel/main.py --config configs/demo.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.checkpoints import sha256
from common.layout import ADAPTED, ALIGNED, BASELINE, FUSED, SETTINGS
from common.runtime.entry import run
from common.runtime.inputs import summary
from common.stage import open_stage
from DeblurringModel.borrowing import borrow
from DeblurringModel.checks import check_stage
from DeblurringModel.deblur_finetune_DDP import finetune
from DeblurringModel.deblur_inference import infer
from DeblurringModel.evaluation import evaluate, sanity_problems, table
from DeblurringModel.fused import fuse
from DeblurringModel.variants import adapted_variants, how_adapted, network_layout


def main() -> None:
    """Baseline, fine-tuning, adapted result, table."""
    stage = open_stage(__doc__.splitlines()[0])
    check_stage(stage)
    baseline = infer(stage, BASELINE)
    finetune(stage)
    adapted = {variant: infer(stage, variant) for variant in adapted_variants(stage.config.deblurring)}
    for video, problems in sanity_problems(stage, adapted[ADAPTED]).items():
        stage.say(f"{video}: the adapted result {'; '.join(problems)}: better use the one before adaptation")
    results = {BASELINE: baseline} | adapted
    if stage.config.deblurring.fusion == "aligned":
        results |= {ALIGNED: borrow(stage)}
        results |= {FUSED: fuse(stage, {video.name: adapted[ADAPTED] / video.name for video in stage.videos})}
        for video, problems in sanity_problems(stage, results[FUSED]).items():
            stage.say(f"{video}: the fused result {'; '.join(problems)}: better use the adapted one")
    layout = network_layout(stage.config)
    # Figures are kept with the identity of their pictures: pictures made with other settings are measured
    # again.
    made_from = [sha256(folder / SETTINGS) for folder in results.values()]
    made_from.append(summary(stage.inputs(sharp=True)))
    figures = evaluate(stage, {"input": None} | results, layout.metrics, made_from)
    stage.keep_note()
    if figures is None:
        stage.say("no ground truth (dataset.sharp), so no table; compare the pictures:")
    else:
        stage.say(
            table(
                figures,
                f"{layout.name} on {stage.config.dataset.root.name}",
                how_adapted(stage.config.deblurring),
            )
        )
    stage.say(f"before: {baseline}\nafter:  {', '.join(map(str, list(results.values())[1:]))}")
    stage.say_report()


if __name__ == "__main__":
    run(main)
