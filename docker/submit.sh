#!/bin/sh
# Hands the trainer in as a job, follows its log, and ends as it does. Arguments are the trainer's.
set -eu
: "${RAY_AUTH_TOKEN:?is not set: every member of the cluster needs the same one}"
exec ray job submit --address="${RAY_JOBS:?is not set: http://HOST:PORT of the job server}" --log-color=false -- \
    python -m trainer "$@"
