#!/usr/bin/env bash
# The whole method on the bundled clip: makes .venv, runs the four stages, then stage 4 with the borrowed pairs too, and
# prints before and after.
# Usage: bash scripts/demo.sh [--set section.key=value ...] [--overwrite]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/scripts/environment.sh"
source "$root/scripts/foreground.sh"
environment "$root"
# The report is made once, with the rows of both kinds of pairs.
WITHOUT_REPORT=1 foreground bash "$root/scripts/run_pipeline.sh" "$root/configs/demo.yaml" 1 "$@"
foreground python "$root/scripts/compare.py" --config "$root/configs/demo.yaml" "$@"
foreground python "$root/scripts/compare_pairs.py" --config "$root/configs/demo.yaml" "$@"
foreground python "$root/scripts/report.py" --config "$root/configs/demo.yaml" "$@"
