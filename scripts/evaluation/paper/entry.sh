# Sourced by the eval scripts: `evaluate TABLE SCRIPT ARGUMENTS...` shows the script's header and help.txt for --help,
# else makes the environment (or takes the python that EVAL_PYTHON names) and runs scripts/evaluate.py.
evaluate() {
  local table="$1" script="$2" root argument
  shift 2
  root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)"
  for argument in "$@"; do
    if [ "$argument" = "--help" ] || [ "$argument" = "-h" ]; then
      sed -n -e '/^set /q' -e '2,$s/^# \{0,1\}//p' "$script"
      cat "$root/scripts/evaluation/paper/help.txt"
      return 0
    fi
  done
  if [ -z "${EVAL_PYTHON:-}" ]; then
    source "$root/scripts/environment.sh"
    environment "$root"
    EVAL_PYTHON=python
  fi
  exec "$EVAL_PYTHON" "$root/scripts/evaluate.py" "$table" "$@"
}
