#!/usr/bin/env bash
# The paper's table on BSD: every network on 1ms8ms, 2ms16ms and 3ms24ms, blurry input, before and after adaptation,
# beside the published figures.
#
# Usage: bash scripts/eval_bsd.sh [--root DIR] [--models ESTRNN,...] [--settings 1ms8ms,...] [--gpus N] [more]
#
# Data: BSD, the beam-splitter data set, from the project page of its authors, github.com/zzh-tech/ESTRNN. Needed are
# the test videos of the three exposures as PNG files, 20 videos of 150 frames of 640 x 480 each:
#     BSD_1ms8ms/test/<video>/Blur/RGB/<frame>.png   BSD_1ms8ms/test/<video>/Sharp/RGB/<frame>.png   (and so on)
# Then
#     python scripts/prepare_bsd.py FOLDER
# links them into data/BSD/<setting>/<video> and says what is missing. FOLDER is where the BSD_... folders are.
# --root DIR takes the videos from DIR/<setting>/<video> (default data/BSD).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/evaluation/paper/entry.sh"
evaluate bsd "$0" "$@"
