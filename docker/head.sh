#!/bin/sh
# Starts the head of a Ray cluster, with its job server. The trainer's jobs run on the head, students on other nodes.
# RAY_HEAD_RESOURCES is a JSON object of what only the head has, such as {"rank": 2} for a trainer of two ranks.
set -eu
: "${RAY_AUTH_TOKEN:?is not set: every member of the cluster needs the same one}"
if [ -n "${RAY_HEAD_RESOURCES:-}" ]; then
    set -- --resources="$RAY_HEAD_RESOURCES"
fi
exec ray start --head --block --num-cpus=0 --port=6379 --disable-usage-stats \
    --dashboard-host=0.0.0.0 --dashboard-port=8265 --metrics-export-port=8080 \
    --object-store-memory="$((${OBJECT_STORE_MIB:-512} * 1024 * 1024))" "$@"
