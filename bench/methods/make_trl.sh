#!/usr/bin/env bash
# Makes an environment with TRL and what it needs, at the versions that were compared: bench/methods/make_trl.sh FOLDER
# Run it in the repository, after `make setup`, whose uv it uses.
set -euo pipefail

INSTALLER=.venv .venv/bin/uv venv --quiet --python .venv/bin/python "$1"
INSTALLER=.venv scripts/install.sh "$1" "trl==1.16.0"
