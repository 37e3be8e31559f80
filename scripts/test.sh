#!/usr/bin/env bash
# All tests, in the environment .venv that it makes. Usage: bash scripts/test.sh [pytest options]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/scripts/environment.sh"
environment "$root"
cd "$root"
python -m pytest "$@"
