#!/bin/sh
# Builds the three images and prints their sizes. If this machine has a pip.conf, the build gets it as a secret, and so
# uses the same package index. DOCKER_BUILD_OPTIONS are passed on to every `docker build`.
set -eu
cd "$(dirname "$0")/.."
export DOCKER_BUILDKIT=1
secret=
for file in "${PIP_CONFIG_FILE:-}" /etc/pip.conf; do
    if [ -z "$secret" ] && [ -n "$file" ] && [ -f "$file" ]; then
        secret="--secret id=pip,src=$file"
    fi
done
for part in teacher student trainer; do
    # Both variables may hold several words, so they are not quoted.
    # shellcheck disable=SC2086
    docker build --progress=plain $secret ${DOCKER_BUILD_OPTIONS:-} -f docker/Dockerfile --target "$part" \
        -t "adaswitch-$part" .
done
docker image ls --format '{{.Repository}} {{.Size}}' | grep '^adaswitch-'
