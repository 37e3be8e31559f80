# Sourced by scripts that run others: `foreground COMMAND...` runs a command and passes SIGTERM and Ctrl-C on to it. Bash
# by itself would end and leave the command running, or first wait for it.
between_commands() {
  trap 'exit 143' TERM
  trap 'exit 130' INT
}
between_commands
foreground() {
  local child status=0 asked=0
  "$@" &
  child=$!
  trap 'asked=143; kill -TERM "$child" 2> /dev/null || true' TERM
  trap 'asked=130; kill -TERM "$child" 2> /dev/null || true' INT
  wait "$child" || status=$?
  # A signal ends `wait`, not the command.
  while kill -0 "$child" 2> /dev/null; do
    wait "$child" || status=$?
  done
  between_commands
  if [ "$asked" -ne 0 ]; then
    exit "$asked"
  fi
  return "$status"
}
