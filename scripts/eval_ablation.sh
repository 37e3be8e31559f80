#!/usr/bin/env bash
# The paper's ablation (Table 2): ESTRNN on BSD 1ms8ms adapted with sharp (RSDM) or random patches, blurred under
# DBCGM's conditions, those of optical flow alone, or random ones, beside the published figures.
#
# Usage: bash scripts/eval_ablation.sh [--root DIR] [--cells sharp:dbcgm,random:random,...] [--gpus N] [more]
#
# Data: BSD 1ms8ms, as for eval_bsd.sh (bash scripts/eval_bsd.sh --help). --root DIR takes the videos from DIR/1ms8ms/.
# The cell sharp:dbcgm is the full method: what eval_bsd.sh has made of it with the same --output is used.
# The paper names the cells and says little more; what "random" and "optical flow" mean here:
#     random patches           as many boxes of 256 x 256 as RSDM aims at, frame and place uniform (rsdm.patches)
#     optical-flow condition   direction and length of the frame's own flow, not adapted, nothing added
#     random condition         per frame one direction, uniform, and one magnitude, uniform in 0 .. 205 pixels
#                              (dbcgm.condition, dbcgm.random_magnitude)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/evaluation/paper/entry.sh"
evaluate ablation "$0" "$@"
