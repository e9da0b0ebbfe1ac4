#!/usr/bin/env bash
# Build a wheel, install it in an empty environment, and run tests there from an empty folder, so that
# nothing is imported from the source tree: those which read what is installed (files of the packages,
# components, specs, pages) and those which use the command. Others may be named: tests/wheel.sh tests/framework/study.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
parts=(tests/test_packaging.py tests/api/test_{names,given,lists,pages}.py
  tests/registry tests/framework/{cli,report,scaffold} tests/framework/studio/test_app.py)
if [ $# -gt 0 ]; then parts=("$@"); fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$place/dist" "$repo"
wheel=$(ls "$place"/dist/slotlab-*.whl)
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check "${wheel}[test]"
mkdir "$place/empty"
cd "$place/empty"
"$place/venv/bin/slotlab" list >list.txt
"$place/venv/bin/python" -m pytest -c "$repo/pyproject.toml" --rootdir "$repo" -p no:cacheprovider \
  -n 2 --dist worksteal -m 'not slow' "${parts[@]/#/$repo/}"
