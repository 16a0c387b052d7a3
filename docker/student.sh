#!/bin/sh
# Starts a node of a Ray cluster, whose students make rollouts for every run of the cluster. RAY_HEAD is the HOST:PORT
# of the cluster's head.
set -eu
: "${RAY_AUTH_TOKEN:?is not set: every member of the cluster needs the same one}"
rm -f /tmp/students-ready
ray start --address="${RAY_HEAD:?is not set: the HOST:PORT of the head}" --num-cpus="${STUDENT_SLOTS:-4}" \
    --disable-usage-stats --metrics-export-port=8080 \
    --object-store-memory="$((${OBJECT_STORE_MIB:-512} * 1024 * 1024))" >/tmp/ray-start.log 2>&1 || {
    tail -n 5 /tmp/ray-start.log >&2
    echo "error: no Ray cluster at $RAY_HEAD that takes this node: is the head up, and is RAY_AUTH_TOKEN its own?" >&2
    exit 1
}
exec python -m services.student --here --ready-file /tmp/students-ready
