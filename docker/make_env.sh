#!/bin/sh
# Writes .env from .env.example, with random keys. The containers run as the caller, so that they can write to runs/;
# if the caller is root, runs/ is given to the user of the images, 10001. An .env that exists already is left alone.
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
