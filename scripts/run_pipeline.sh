#!/usr/bin/env bash
# Run the four stages in order on any configuration, then make the report (scripts/report.py).
# Usage: bash scripts/run_pipeline.sh CONFIG [PROCESSES] [--set section.key=value ...] [--overwrite]
# The environment variable WITHOUT_REPORT, if not empty, leaves the report out.
set -euo pipefail
if [ $# -lt 1 ] || [ "$1" = "--help" ] || [ "$1" = "-h" ]; then
  sed -n '2,4s/^# //p' "$0"
  exit $([ $# -ge 1 ] && echo 0 || echo 2)
fi
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
config="$1"
shift
processes=1
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
  processes="$1"
  shift
fi
source "$root/scripts/environment.sh"
source "$root/scripts/foreground.sh"
entered "$root"
python="$(command -v python || command -v python3)"
# What cannot work in the last stage is told before the first.
foreground "$python" "$root/scripts/check_settings.py" --config "$config" --processes "$processes" "$@"
for stage in RSDM DBCGM BlurringModel DeblurringModel; do
  if [ "$processes" -gt 1 ]; then
    foreground "$python" "$root/scripts/launch.py" "$processes" "$root/$stage/main.py" --config "$config" "$@"
  else
    foreground "$python" "$root/$stage/main.py" --config "$config" "$@"
  fi
done
if [ -z "${WITHOUT_REPORT:-}" ]; then
  foreground "$python" "$root/scripts/report.py" --config "$config" "$@"
fi
