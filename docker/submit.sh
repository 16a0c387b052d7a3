#!/bin/sh
# Hands the trainer in as a job, follows its log, and ends as it does, with the cause as the last line if it failed.
# Arguments are the trainer's.
set -eu
: "${RAY_AUTH_TOKEN:?is not set: every member of the cluster needs the same one}"
: "${RAY_JOBS:?is not set: http://HOST:PORT of the job server}"
id=run-$(date +%s)
# Whoever is stopped stops the job too: it finishes its step and saves.
trap 'ray job stop --address="$RAY_JOBS" "$id" || true' INT TERM
{
    ray job submit --address="$RAY_JOBS" --submission-id="$id" --log-color=false -- python -m trainer "$@" &&
        code=0 || code=$?
    echo "$code" >/tmp/exit-code
} 2>&1 | tee /tmp/submit.log &
# The first of them ends with a signal, once its trap has run.
wait $! || true
wait
code=$(cat /tmp/exit-code)
[ "$code" = 0 ] || grep '^error: ' /tmp/submit.log | tail -n 1
exit "$code"
