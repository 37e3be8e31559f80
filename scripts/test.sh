#!/usr/bin/env bash
# The style of the code, then all tests, two files at a time, in the environment .venv that it makes.
# Usage: bash scripts/test.sh [pytest options]      (-m fast: only the tests of seconds)
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/scripts/environment.sh"
environment "$root"
cd "$root"
python -m ruff check .
python -m ruff format --check .
# Threads that wait must not spin: they would take the processor from the other file's tests.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
python -m pytest --numprocesses 2 --dist loadfile "$@"
