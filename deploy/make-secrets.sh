#!/bin/sh
# Makes the secrets of docker-compose.yml in deploy/secrets/: random, and only those that are missing.
set -eu
cd "$(dirname "$0")/secrets"

# Containers read the files as another user than the one who made them: the folder keeps other people out.
chmod 0700 .
umask 0333

for name in agent-token api-token influxdb-password; do
  if [ -e "$name" ]; then
    echo "kept $name"
  else
    head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n' > "$name"
    echo "made $name"
  fi
done
