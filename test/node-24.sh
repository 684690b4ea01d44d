#!/usr/bin/env bash
# Runs the tests under Node 24, beside the oldest Node that is supported: brings one as the npm package `node`, copies
# the project beside it and installs it anew, because native parts are built for one Node only. Nothing in the project
# changes. Arguments go to vitest.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Some tests start the program as another user.
chmod 755 "$folder"

npm install --silent --no-save --prefix "$folder/node" node@24
export PATH="$folder/node/node_modules/node/bin:$PATH"
node -e 'console.log(`Node ${process.version}`); process.exit(process.version.startsWith("v24.") ? 0 : 1)'

mkdir "$folder/project"
git ls-files -z | xargs -0 cp --parents --target-directory="$folder/project"
if [ -e ../shared ]; then ln -s "$(realpath ../shared)" "$folder/shared"; fi
cd "$folder/project"
# Tests ask git what it ignores.
git init --quiet
# Native parts are built with the headers that this Node brings, whatever others npm was told of.
headers=$(find "$folder/node" -name node_version.h -path '*/include/node/*' -print -quit)
npm_config_nodedir="${headers%/include/node/node_version.h}" npm ci --silent
node node_modules/vitest/vitest.mjs run "$@"
