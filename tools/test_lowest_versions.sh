#!/usr/bin/env bash
# Run the fast suite with the lowest version of every dependency that pyproject.toml allows, in a venv of its own.
# It needs uv (pip install uv) and 6 GB. Further arguments go to pytest: tools/test_lowest_versions.sh VENV -n 2
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:?usage: tools/test_lowest_versions.sh VENV [pytest arguments]}
shift
uv venv --quiet --allow-existing "$venv"
export VIRTUAL_ENV=$venv
# protobuf: onnxscript 0.1 gives it booleans for integers, which later ones refuse.
uv pip install --quiet --resolution lowest-direct --editable ".[search,detection,export]" "protobuf>=4.25,<6"
# The newest tools: they run the tests, and no user needs them.
uv pip install --quiet pytest pytest-xdist hypothesis grimp build "setuptools>=77"
uv pip list
"$venv/bin/python" -m pytest "$@"
