# Sourced by the other scripts: makes the virtual environment .venv once and puts its python first on the PATH.
# Set PYTHON to choose the interpreter that makes it (default python3). `entered ROOT` only takes .venv where it is.
entered() {
  if [ -x "$1/.venv/bin/python" ]; then
    export PATH="$1/.venv/bin:$PATH"
  fi
}
environment() {
  local root="$1" stamp="$1/.venv/requirements.txt"
  if ! cmp -s "$root/requirements.txt" "$stamp"; then
    echo "making the environment $root/.venv (a few minutes, once)"
    "${PYTHON:-python3}" -m venv "$root/.venv"
    "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/requirements.txt"
    # Written last: an installation that was interrupted is started again.
    cp "$root/requirements.txt" "$stamp"
  fi
  export PATH="$root/.venv/bin:$PATH"
}
