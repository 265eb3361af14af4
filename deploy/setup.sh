#!/bin/sh
# Make .venv with the pinned dependencies and heo itself, editable. Does nothing if that is done already for this
# pyproject.toml, these constraints and this folder. Run from the checkout.
set -eu

VENV=.venv
STAMP=$VENV/.heo-installed
UNFINISHED=$VENV/.heo-installing # there while an installation goes on; left behind by one that was killed

key=$({ pwd -P; cat pyproject.toml constraints.txt; } | cksum)
if [ ! -e "$UNFINISHED" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$key" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

if [ -e "$UNFINISHED" ] || { [ -d "$VENV" ] && ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }; then
    echo "==> $VENV is unfinished or broken: making it again"
    rm -rf "$VENV"
fi
if [ ! -d "$VENV" ]; then
    python=$(sh deploy/find_python.sh)
    echo "==> making $VENV with $python"
    mkdir "$VENV"
    : >"$UNFINISHED"
    "$python" -m venv "$VENV"
fi
: >"$UNFINISHED"
echo "==> installing heo and its dependencies into $VENV (about 3 minutes; 8 GB on disk, most of it PyTorch)"
"$VENV/bin/python" -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
# icet comes as source: it makes quasirandom cells, and nothing else needs it.
sqs="'heo structures generate --filling sqs' will not work; for it, have a C++ compiler and run: \
    $VENV/bin/python -m pip install --constraint constraints.txt icet"
if command -v c++ >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1; then
    echo "==> building icet (about a minute)"
    "$VENV/bin/python" -m pip install --disable-pip-version-check --quiet --constraint constraints.txt icet ||
        echo "==> icet could not be built: $sqs"
else
    echo "==> no C++ compiler here: $sqs"
fi
printf '%s\n' "$key" >"$STAMP"
rm "$UNFINISHED"
