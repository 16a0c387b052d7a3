#!/bin/sh
# Builds the three images and prints their sizes. A pip.conf of this machine goes into the build as a secret, so that a
# package index of one's own is used there too. DOCKER_BUILD_OPTIONS are handed on to every `docker build`.
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
    # Several words each.
    # shellcheck disable=SC2086
    docker build --progress=plain $secret ${DOCKER_BUILD_OPTIONS:-} -f docker/Dockerfile --target "$part" \
        -t "adaswitch-$part" .
done
docker image ls --format '{{.Repository}} {{.Size}}' | grep '^adaswitch-'
