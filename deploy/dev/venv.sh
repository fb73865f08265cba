#!/usr/bin/env bash
# Makes the virtual environment, unless it is there and works.
#
#   venv.sh DIR
#
# PYTHON  interpreter to use (default: the first of python3, python3.14 … python3.11 that is new enough)
#
# Debian keeps what `python3 -m venv` needs in a package of its own, so there are three ways: venv, virtualenv, and
# installing that package (which asks first where it needs rights).
set -euo pipefail

here=$(dirname "$(realpath "$0")")
directory=${1:?usage: venv.sh DIR}

say() { echo "venv: $*" >&2; }
die() { say "$*"; exit 1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || die "PYTHON=$PYTHON is not a Python of at least 3.11"
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && new_enough "$name"; then echo "$name"; return; fi
    done
    die "Hexad needs Python 3.11 or later, and there is none on PATH. On Debian 12, Ubuntu 24.04 or later: apt-get install python3"
}

with_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null && "$python" -m venv --clear "$directory"; }

with_virtualenv() {
    if "$python" -c 'import virtualenv' 2>/dev/null; then
        "$python" -m virtualenv -q --clear "$directory"
    elif command -v virtualenv >/dev/null; then
        virtualenv -q --clear -p "$python" "$directory"
    else
        return 1
    fi
}

if [ -x "$directory/bin/python" ] && new_enough "$directory/bin/python" &&
    "$directory/bin/python" -c 'import pip' 2>/dev/null; then
    exit 0
fi
python=$(find_python)
say "making $directory with $("$python" --version)"
with_venv || with_virtualenv || {
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    say "$python can make no virtual environment with pip: that is in Debian's package $package"
    "$here/apt.sh" "$package"
    with_venv || die "still no virtual environment: install $package or virtualenv, then call this again"
}
