#!/usr/bin/env bash
# The paper's table on RBVD: every network, blurry input, before and after adaptation, beside the published figures.
#
# Usage: bash scripts/eval_rbvd.sh [--root DIR] [--models ESTRNN,...] [--gpus N] [more]
#
# Data: RBVD, real blurry videos of 1440 x 960, from the project page of its authors,
# github.com/XJTU-CVLAB-LOWLEVEL/RNN-MBP. Needed are the test videos as PNG files, blurry frames and ground truth in a
# folder each, for example <video>/blur/<frame>.png and <video>/gt/<frame>.png. Then
#     python scripts/prepare_rbvd.py FOLDER [--blur NAME] [--sharp NAME]
# links them into data/RBVD/<video> and says what is missing. --root DIR takes the videos from DIR/<video>.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/evaluation/paper/entry.sh"
evaluate rbvd "$0" "$@"
