#!/usr/bin/env bash
# Installs what the tests need beside Python packages, as far as it is missing: the real Redis programs as peers, a
# compiler and Python's headers (one test dependency, crc16, comes as source), node and npm for the
# JavaScript clients, shellcheck for our scripts.
#
#   tools.sh PYTHON        PYTHON: the interpreter whose headers are needed
set -euo pipefail

python=${1:?usage: tools.sh PYTHON}
apt=$(dirname "$(realpath "$0")")/../../deploy/dev/apt.sh
missing=()

need() { # package, then commands that it brings
    local package=$1 name
    shift
    for name in "$@"; do
        if ! command -v "$name" >/dev/null; then
            missing+=("$package")
            return
        fi
    done
}

has_c_headers() { echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1; }

has_python_headers() {
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

need redis-server redis-server redis-check-rdb redis-check-aof
need redis-sentinel redis-sentinel
need redis-tools redis-cli redis-benchmark
need gcc gcc
has_c_headers || missing+=(libc6-dev)
has_python_headers || missing+=("$("$python" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')")
need nodejs node
need npm npm
need shellcheck shellcheck

[ ${#missing[@]} -eq 0 ] || exec "$apt" "${missing[@]}"
