#!/usr/bin/env bash
# The synthetic benchmark: adaptation measured on rendered blur of three target domains (phone, action, night: see
# common/rendering/presets.py), on footage that no bundled network was trained on.
#
# Usage: bash scripts/eval_synthetic.sh [--quick] [--tables 1,2,3,4,5] [--domains phone,action,night] [--seeds N] [more]
#
#     --quick           Table 1 alone with one seed, fewer frames, pairs and steps: shows that everything runs
#     --tables A,B      1: blurry input, before, after, and the ceiling (true pairs); 2: which patches, which condition;
#                       3: the paper's formulas, the released code's, and what goes beyond them; 4: one network a clip,
#                       which of its states is used: the last, the best on held-out pairs, the ground truth's choice;
#                       5: what the clip's own sharp moments give, as pairs and laid over the result, frame by frame
#     --rivals DIR      weights of the rivals in Table 3, DIR/meta_transfer.pth and DIR/reblurring_loss.pth (default
#                       weights/rivals); their rows say "missing" where there are none
#     --seeds N         seeds for Tables 1 and 2 (default 3)
#     --config FILE     settings and weights (default configs/demo.yaml)
#     --set K=V ...     change settings
#     --output DIR      folder for everything (default outputs/eval_synthetic, with --quick outputs/eval_synthetic_quick);
#                       the tables are DIR/synthetic.md, .csv, .json
#
# Needs no data: clips are rendered from assets/footage/benchmark. A stopped run goes on with the same command.
# "epoch chosen by ground truth" and "ceiling" use the ground truth, for comparison only.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
for argument in "$@"; do
  if [ "$argument" = "--help" ] || [ "$argument" = "-h" ]; then
    sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "$0"
    exit 0
  fi
done
if [ -z "${EVAL_PYTHON:-}" ]; then
  source "$root/scripts/environment.sh"
  environment "$root"
  EVAL_PYTHON=python
fi
exec "$EVAL_PYTHON" "$root/scripts/eval_synthetic.py" "$@"
