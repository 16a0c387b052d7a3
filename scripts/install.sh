#!/usr/bin/env bash
# Installs packages into a virtual environment with uv, at the versions of constraints.txt. Run this script in the
# folder that has constraints.txt and pyproject.toml.
#
#   scripts/install.sh VENV WHAT...      WHAT as for `uv pip install`: -e ".[dev]", or -r pyproject.toml --extra teacher
#
# torch comes from PyTorch's CPU index, as pyproject.toml says. If that index cannot be reached, torch comes from the
# index that pip's own configuration names. ACCELERATOR=cuda takes PyPI's builds, at any version that pyproject.toml
# allows: constraints.txt and [tool.uv] are only for CPU builds. INSTALLER=VENV2 names the environment that has pip and
# uv, if that is not VENV.
set -euo pipefail

venv=$1
shift
installer=${INSTALLER:-$venv}

say() { printf 'install: %s\n' "$*" >&2; }

# The index is probed first, as uv itself gives up on an index only after minutes of retries.
torch_index_answers() {
    timeout 15 "$installer/bin/python" - <<'PYTHON' 2>/dev/null
import tomllib
import urllib.request

with open("pyproject.toml", "rb") as file:
    index = tomllib.load(file)["tool"]["uv"]["index"][0]["url"]
urllib.request.urlopen(f"{index}/torch/", timeout=8)
PYTHON
}

# Prints a setting of pip: from pip's environment variable, else from pip's configuration files. `pip config get` would
# look only into the user's file.
pip_setting() { # find-links | index-url | extra-index-url | cert
    local variable
    variable=PIP_$(printf '%s' "$1" | tr 'a-z-' 'A-Z_')
    if [ -n "${!variable:-}" ]; then
        echo "${!variable}"
    else
        "$installer/bin/python" -m pip config list | "$installer/bin/python" -c '
import ast, sys
settings = dict(line.rstrip().split("=", 1) for line in sys.stdin if line.startswith("global."))
print(ast.literal_eval(settings.get("global." + sys.argv[1], repr(""))))' "$1"
    fi
}

uv_install() { "$installer/bin/uv" pip install --python "$venv/bin/python" "$@"; }

# uv does not read pip's configuration, so its settings are passed to uv. Like pip, uv shall take the best match of all
# indexes.
uv_install_as_pip_is_configured() {
    local find_links index_url extra_index_url cert
    find_links=$(pip_setting find-links)
    index_url=$(pip_setting index-url)
    extra_index_url=$(pip_setting extra-index-url)
    cert=$(pip_setting cert)
    [ -z "$cert" ] || export SSL_CERT_FILE=$cert
    export UV_NO_SOURCES=1 UV_INDEX_STRATEGY=unsafe-best-match
    # pip separates several values by blanks or line breaks; uv wants commas between folders, blanks between indexes.
    [ -z "$find_links" ] || UV_FIND_LINKS=$(printf '%s' "$find_links" | tr -s '[:space:]' ',')
    [ -z "$index_url" ] || UV_DEFAULT_INDEX=$index_url
    [ -z "$extra_index_url" ] || UV_INDEX=$(printf '%s' "$extra_index_url" | tr -s '[:space:]' ' ')
    export UV_FIND_LINKS UV_DEFAULT_INDEX UV_INDEX
    uv_install "$@"
}

if [ "${ACCELERATOR:-cpu}" = cuda ]; then
    uv_install_as_pip_is_configured --no-config "$@"
elif torch_index_answers && uv_install -c constraints.txt "$@"; then
    : # as pyproject.toml says
else
    say "PyTorch's CPU index cannot be used: taking torch from where pip's own configuration points"
    uv_install_as_pip_is_configured -c constraints.txt "$@"
fi
