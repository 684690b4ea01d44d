#!/usr/bin/env bash
# Runs the tests against a real Ray cluster in network namespaces, as root: takes about twenty minutes and 3 GB of memory.
# Usage: test/ray.sh [VERSION] [arguments of vitest]. Without a version: the newest that is tested.
# The cluster is started by raylab, which lies in ../shared/raylab; Ray itself comes from PyPI into a virtual environment
# that is kept for the next run (RAYLAB_VENV moves it), with the constraints in test/ray.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.60.0
if [[ ${1:-} =~ ^[0-9]+\.[0-9] ]]; then
  version=$1
  shift
fi
if [ ! -x ../shared/raylab/raylab ]; then
  echo "no cluster to test with: ../shared/raylab is missing" >&2
  exit 2
fi
for program in nmap curl flock; do
  if ! command -v "$program" > /dev/null; then
    echo "install the program $program: the tests call it" >&2
    exit 2
  fi
done
cache=${XDG_CACHE_HOME:-$HOME/.cache}/plasmawatch
mkdir -p "$cache"
# The names of the lab's namespaces are fixed, and a second cluster would end the first.
exec 9> "$cache/ray.lock"
if ! flock -n 9; then
  echo "another run of these tests uses the lab on this machine" >&2
  exit 2
fi

export RAYLAB_VENV=${RAYLAB_VENV:-$cache/ray-$version}
if [ ! -e "$RAYLAB_VENV/complete" ] && ! "$RAYLAB_VENV/bin/python" -c 'import ray' 2> /dev/null; then
  python3 -m venv --clear "$RAYLAB_VENV"
  constraints=(-c test/ray/constraints.txt)
  # What a version needs besides, by its first two numbers.
  own=test/ray/constraints-$(cut -d. -f1,2 <<< "$version").txt
  if [ -e "$own" ]; then constraints+=(-c "$own"); fi
  "$RAYLAB_VENV/bin/pip" install --quiet "${constraints[@]}" "ray[default]==$version" -r test/ray/requirements.txt
  touch "$RAYLAB_VENV/complete"
fi
# Some tests are about what older versions cannot do.
export PLASMAWATCH_TEST_RAY=$version
RAYLAB_STATE=$(mktemp -d)
export RAYLAB_STATE
trap 'rm -rf "$RAYLAB_STATE"' EXIT
# The users of some hosts are others than root.
chmod 755 "$RAYLAB_STATE"
# Ray is a guest on the machine; the lock is this script's alone, whatever Ray leaves behind.
nice node node_modules/vitest/vitest.mjs run --config test/ray/vitest.config.ts "$@" 9>&-
