#!/bin/sh
# Writes .env from .env.example, with random keys and the caller as the owner of runs/. Leaves one that is there alone.
set -eu
cd "$(dirname "$0")/.."
mkdir -p runs
[ ! -e .env ] || { echo "env: .env is there already"; exit 0; }

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
sed -e "s/^ADASWITCH_API_KEY=$/&$(random)/" -e "s/^RAY_AUTH_TOKEN=$/&$(random)/" \
    -e "s/^ADASWITCH_USER=$/&$(id -u):$(id -g)/" .env.example >.env
echo "env: wrote .env"
