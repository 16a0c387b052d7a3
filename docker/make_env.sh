#!/bin/sh
# Writes .env from .env.example, with random keys and the caller as the owner of runs/; root has the images' own user
# write there. Leaves an .env that is there alone.
set -eu
cd "$(dirname "$0")/.."
mkdir -p runs
[ ! -e .env ] || { echo "env: .env is there already"; exit 0; }

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

owner=$(id -u):$(id -g)
if [ "$(id -u)" = 0 ]; then
    owner=10001:10001
    chown "$owner" runs
fi
umask 077
sed -e "s/^ADASWITCH_API_KEY=$/&$(random)/" -e "s/^RAY_AUTH_TOKEN=$/&$(random)/" \
    -e "s/^ADASWITCH_USER=$/&$owner/" .env.example >.env
echo "env: wrote .env"
