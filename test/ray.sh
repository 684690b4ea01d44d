#!/usr/bin/env bash
# Runs the tests against a real Ray cluster in network namespaces, as root: takes about ten minutes and 3 GB of memory.
# The cluster is started by raylab, which lies in ../shared/raylab; Ray itself comes from PyPI into a virtual environment
# that is kept for the next run (RAYLAB_VENV moves it). Arguments go to vitest.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ ! -x ../shared/raylab/raylab ]; then
  echo "no cluster to test with: ../shared/raylab is missing" >&2
  exit 2
fi
if ! command -v nmap > /dev/null; then
  echo "no scan to test with: install the package nmap" >&2
  exit 2
fi
export RAYLAB_VENV=${RAYLAB_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/plasmawatch/ray-venv}
if [ ! -x "$RAYLAB_VENV/bin/ray" ]; then
  python3 -m venv "$RAYLAB_VENV"
  "$RAYLAB_VENV/bin/pip" install --quiet -r ../shared/raylab/requirements.txt
fi
RAYLAB_STATE=$(mktemp -d)
export RAYLAB_STATE
trap 'rm -rf "$RAYLAB_STATE"' EXIT
# The users of some hosts are others than root.
chmod 755 "$RAYLAB_STATE"
node node_modules/vitest/vitest.mjs run --config test/ray/vitest.config.ts "$@"
