#!/bin/sh
# Print the path of a Python that heo can be installed with: 3.12 or 3.13, else 3.14; it must run, and be able to make
# virtual environments. Looks at $PYTHON, at PATH, at pyenv's versions, and at last asks uv.
set -eu

NEWEST_SURE=13 # every dependency has wheels up to here
NEWEST=14

# The real path of an interpreter that answers and is 3.12 to 3.<$2>; fails otherwise. A pyenv shim for a version that
# is not selected does not answer.
accept() {
    "$1" -c '
import sys
if not (3, 12) <= sys.version_info[:2] <= (3, int(sys.argv[1])):
    sys.exit(1)
print(sys.executable)' "$2" 2>/dev/null </dev/null
}

# Debian ships Python without what venv needs.
has_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null
}

candidates() {
    for name in python3.12 python3.13 python3.14 python3 python; do
        command -v "$name" || true
    done
    for root in "${PYENV_ROOT:-}" "${HOME:-}/.pyenv" "$(pyenv root 2>/dev/null || true)"; do
        for path in "$root"/versions/3.12*/bin/python "$root"/versions/3.13*/bin/python "$root"/versions/3.14*/bin/python; do
            if [ -x "$path" ]; then echo "$path"; fi
        done
    done
}

fail() {
    echo "$1" >&2
    exit 1
}

if [ -n "${PYTHON:-}" ]; then
    found=$(accept "$PYTHON" "$NEWEST") ||
        fail "PYTHON=$PYTHON does not run or is not Python 3.12 to 3.$NEWEST: $("$PYTHON" --version 2>&1 | tail -n 1 || true)"
    has_venv "$found" || fail "PYTHON=$PYTHON has no ensurepip module (Debian, Ubuntu: install the package python3-venv)"
    echo "$found"
    exit 0
fi

without_venv=
for newest in "$NEWEST_SURE" "$NEWEST"; do
    # A here-document, not a pipe: a pipe would run the loop in a subshell, and exit would only leave that.
    while IFS= read -r candidate; do
        if [ -n "$candidate" ] && found=$(accept "$candidate" "$newest"); then
            if has_venv "$found"; then
                echo "$found"
                exit 0
            fi
            without_venv=$found
        fi
    done <<LIST
$(candidates)
LIST
done

if command -v uv >/dev/null 2>&1; then
    range=">=3.12,<3.$((NEWEST_SURE + 1))"
    if found=$(uv python find "$range" 2>/dev/null) && has_venv "$found"; then
        echo "$found"
        exit 0
    fi
    echo "no Python 3.12 or newer is here: asking uv for one" >&2
    if uv python install 3.12 >&2 && found=$(uv python find 3.12) && has_venv "$found"; then
        echo "$found"
        exit 0
    fi
fi

if [ -n "$without_venv" ]; then
    fail "$without_venv has no ensurepip module: install the package python3-venv (Debian, Ubuntu), or set PYTHON=/path/to/another"
fi
fail "heo needs Python 3.12 to 3.$NEWEST, and none was found on PATH, among pyenv's versions or through uv.
Install one (for example: uv python install 3.12, or pyenv install 3.12), or set PYTHON=/path/to/python"
