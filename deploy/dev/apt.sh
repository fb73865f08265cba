#!/usr/bin/env bash
# Installs Debian packages: as root at once, else by sudo after saying the command and asking.
#
#   apt.sh PACKAGE...
#
# Where nobody can be asked and there are no rights, it says the command to run and ends with 1. Services of the
# packages are neither started now nor at the next boot: Debian would start redis-server, which then holds port 6379.
set -euo pipefail

policy=/usr/sbin/policy-rc.d

say() { echo "apt: $*" >&2; }
die() { say "$*"; exit 1; }

# Debian asks this file before it starts a service; 101 forbids it. An existing policy is the owner's: it stays.
forbid_services() {
    [ ! -e "$policy" ] || return 0
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
}

stay_disabled() {
    local unit
    command -v systemctl >/dev/null || return 0
    for unit in "$@"; do
        case $unit in redis-server | redis-sentinel) systemctl disable --now "$unit" >/dev/null 2>&1 || true ;; esac
    done
}

install_now() {
    local log
    log=$(mktemp)
    say "apt-get update; apt-get install $*"
    forbid_services
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "apt-get failed; all it said is in $log"
    fi
    rm -f "$log"
    stay_disabled "$@"
}

[ $# -gt 0 ] || die "usage: apt.sh PACKAGE..."
by_hand="sudo apt-get install --no-install-recommends $*"
command -v apt-get >/dev/null || die "no apt-get here; install by your system's own means what Debian calls: $*"
if [ "$(id -u)" = 0 ]; then
    install_now "$@"
    exit
fi
command -v sudo >/dev/null || die "missing: $*; as root, run: ${by_hand#sudo }"
if [ -n "${CI:-}" ] && sudo -n true 2>/dev/null; then
    exec sudo -n "$(realpath "$0")" "$@"
fi
if ! [ -t 0 ] || ! [ -t 2 ]; then die "missing: $*; run: $by_hand"; fi
say "missing: $*"
say "to run as root: apt-get update && ${by_hand#sudo } (no service is started)"
read -r -p "apt: do that with sudo? [y/N] " answer
case $answer in
    [yY]*) exec sudo "$(realpath "$0")" "$@" ;;
    *) die "not installed; run: $by_hand" ;;
esac
