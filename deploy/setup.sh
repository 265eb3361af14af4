#!/bin/sh
# Make .venv with the pinned dependencies and heo itself, editable. With the word sevennet: .venv-sevennet, with sevenn in
# place of mace-torch, which want different e3nn. With the word dft: .venv-dft, with GPAW and nothing of heo. Does nothing
# if that is done already for this pyproject.toml, these constraints and this folder. Run from the checkout.
set -eu

case ${1-} in
'') VENV=.venv OWN_CONSTRAINTS= ;;
sevennet) VENV=.venv-sevennet OWN_CONSTRAINTS=constraints-sevennet.txt ;;
dft) VENV=.venv-dft OWN_CONSTRAINTS=constraints-dft.txt ;;
*) echo "$0 $1: allowed: no word, sevennet or dft" >&2 && exit 2 ;;
esac
STAMP=$VENV/.heo-installed
UNFINISHED=$VENV/.heo-installing # there while an installation goes on; left behind by one that was killed

install_heo() {
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
}

install_sevennet() {
    echo "==> installing SevenNet and heo without MACE into $VENV (about 3 minutes; 8 GB on disk, most of it PyTorch)"
    "$VENV/bin/python" >"$VENV/requirements.txt" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
wanted = project["dependencies"] + project["optional-dependencies"]["scale"]
print("sevenn", *(line for line in wanted if not line.startswith("mace-torch")), sep="\n")'
    awk -F== 'NR == FNR { own[$1]; print; next } !($1 in own)' "$OWN_CONSTRAINTS" constraints.txt >"$VENV/constraints.txt"
    "$VENV/bin/python" -m pip install --disable-pip-version-check --constraint "$VENV/constraints.txt" \
        --requirement "$VENV/requirements.txt"
    "$VENV/bin/python" -m pip install --disable-pip-version-check --no-deps --editable .
}

install_dft() {
    echo "==> building GPAW into $VENV (about a minute)"
    cat >"$VENV/siteconfig.py" <<'EOF'
mpi = False
compiler = "gcc"
fftw = True
libraries = ["xc", "fftw3", "openblas"]
EOF
    GPAW_CONFIG=$PWD/$VENV/siteconfig.py "$VENV/bin/python" -m pip install --disable-pip-version-check \
        --constraint "$OWN_CONSTRAINTS" gpaw gpaw-data && "$VENV/bin/python" -c 'import gpaw' && return
    echo "==> GPAW could not be built. On Debian or Ubuntu it needs: \
apt-get install --no-install-recommends gcc libc6-dev libxc-dev libfftw3-dev libopenblas-dev" >&2
    exit 1
}

key_of() { # what an environment is made for; its own constraints are the argument
    { pwd -P; cat pyproject.toml constraints.txt "$@"; } | cksum
}

other=.venv-sevennet # which has heo's requirements too
if [ $# = 0 ] && [ -e $other/.heo-installed ] &&
    [ "$(cat $other/.heo-installed)" != "$(key_of constraints-sevennet.txt)" ]; then
    echo "==> $other was made for other requirements than heo has now: run 'make setup-sevennet'" >&2
fi

# shellcheck disable=SC2086  # no file in place of an empty word
key=$(key_of $OWN_CONSTRAINTS)
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
"install_${1:-heo}"
printf '%s\n' "$key" >"$STAMP"
rm "$UNFINISHED"
