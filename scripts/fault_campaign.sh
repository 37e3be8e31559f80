#!/usr/bin/env bash
# The full fault campaign: kills, signals, full disks, broken input, hostile weights, odd videos; ends with one table.
# Usage: bash scripts/fault_campaign.sh [--output FOLDER] [--repeats N]
# A stopped campaign goes on with the same command. Full disks and read-only folders need the right to mount (root);
# without it they are skipped, and the table says so.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [ -z "${FAULTS_PYTHON:-}" ]; then
  source "$root/scripts/environment.sh"
  environment "$root"
  FAULTS_PYTHON=python
fi
export OMP_NUM_THREADS=1
exec "$FAULTS_PYTHON" "$root/tests/faults/campaign.py" "$@"
