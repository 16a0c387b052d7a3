#!/usr/bin/env bash
# Installs into a virtual environment with uv, at the versions of constraints.txt. Run it in the folder that has that
# file and pyproject.toml.
#
#   scripts/install.sh VENV WHAT...      WHAT as for `uv pip install`: -e ".[dev]", or -r pyproject.toml --extra teacher
#
# torch comes from PyTorch's CPU index, as pyproject.toml says; where that cannot be reached, from where pip's own
# configuration points. ACCELERATOR=cuda takes PyPI's builds, at versions that pyproject.toml allows: constraints.txt and
# [tool.uv] are for the CPU's. INSTALLER=VENV2 names the environment that has pip and uv, if it is another.
set -euo pipefail

venv=$1
shift
installer=${INSTALLER:-$venv}

say() { printf 'install: %s\n' "$*" >&2; }

# uv itself would only give up after minutes of retries.
torch_index_answers() {
    timeout 15 "$installer/bin/python" - <<'PYTHON' 2>/dev/null
import tomllib
import urllib.request

with open("pyproject.toml", "rb") as file:
    index = tomllib.load(file)["tool"]["uv"]["index"][0]["url"]
urllib.request.urlopen(f"{index}/torch/", timeout=8)
PYTHON
}

# A setting of pip's own: from its environment variable, else from its configuration files. Not with `pip config get`,
# which looks into the user's file alone.
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

# uv reads none of pip's configuration, so it is handed over. pip takes the best match of all its indexes.
uv_install_as_pip_is_configured() {
    local find_links index_url extra_index_url cert
    find_links=$(pip_setting find-links)
    index_url=$(pip_setting index-url)
    extra_index_url=$(pip_setting extra-index-url)
    cert=$(pip_setting cert)
    [ -z "$cert" ] || export SSL_CERT_FILE=$cert
    export UV_NO_SOURCES=1 UV_INDEX_STRATEGY=unsafe-best-match
    # pip separates several by blanks or lines; uv wants commas for folders and blanks for indexes.
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
