#!/usr/bin/env bash
# The paper's table on RealBlur-J: every network, blurry input, before and after adaptation, beside the published
# figures.
#
# Usage: bash scripts/eval_realblur.sh [--root DIR] [--models ESTRNN,...] [--gpus N] [more]
#
# Data: RealBlur from the project page of its authors, github.com/rimchang/RealBlur, with the list of the test stills,
# RealBlur_J_test_list.txt. Scenes of about 21 stills of slightly different sizes:
#     RealBlur-J_ECC_IMCORR_centroid_itensity_ref/<scene>/blur/blur_<N>.png   .../<scene>/gt/gt_<N>.png
# Then
#     python scripts/prepare_realblur.py FOLDER --list RealBlur_J_test_list.txt
# makes a video of each scene in data/RealBlur_J/<scene>: stills in the order of their numbers, cropped around the
# centre to the scene's common size where they differ. --root DIR takes the videos from DIR/<scene>.
# The set's own benchmark aligns result and ground truth before it measures; here they are measured as they are.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/evaluation/paper/entry.sh"
evaluate realblur "$0" "$@"
