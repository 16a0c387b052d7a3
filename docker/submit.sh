#!/bin/sh
# Submits the trainer as a job and follows the job's log. Ends with the job's exit code; if the job failed, the last
# line says why. All arguments are passed on to the trainer.
set -eu
: "${RAY_AUTH_TOKEN:?is not set: every member of the cluster needs the same one}"
: "${RAY_JOBS:?is not set: http://HOST:PORT of the job server}"
id=run-$(date +%s)
# If this script is stopped, it stops the job too, and the job finishes its step and saves.
trap 'ray job stop --address="$RAY_JOBS" "$id" || true' INT TERM
{
    ray job submit --address="$RAY_JOBS" --submission-id="$id" --log-color=false -- python -m trainer "$@" &&
        code=0 || code=$?
    echo "$code" >/tmp/exit-code
} 2>&1 | tee /tmp/submit.log &
# A signal ends the first `wait` once its trap has run; the second `wait` then waits for the job's end.
wait $! || true
wait
code=$(cat /tmp/exit-code)
[ "$code" = 0 ] || grep '^error: ' /tmp/submit.log | tail -n 1
exit "$code"
