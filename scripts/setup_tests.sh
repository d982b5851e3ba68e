#!/bin/sh
# Installs what the tests (or, with the argument `benches`, the comparison of event loops) need and the machine lacks:
# nginx and the like, by apt; says what to do where it cannot.
set -eu
what="${1:-tests}"

missing=""
command -v cc >/dev/null 2>&1 || missing="$missing gcc"
if [ "$what" = benches ]; then
    # The client and the server in C of the TLS rows, and the certificate.
    [ -e /usr/include/openssl/ssl.h ] || missing="$missing libssl-dev"
    command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
    # What counts instructions.
    command -v valgrind >/dev/null 2>&1 || missing="$missing valgrind"
    # What the applications are loaded by and talk to, and what counts their system calls.
    for program in wrk strace redis-server; do
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
fi
command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
# Debian's Python makes no virtual environments without a package of its own.
"${PYTHON:-python3}" -c "import ensurepip, venv" >/dev/null 2>&1 || missing="$missing python3-venv"
[ -z "$missing" ] && exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo"
    else
        as_root="none"
    fi
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "The $what need:$missing. Install them as root, for example on Debian:" >&2
    echo "    apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing what the $what need:$missing" >&2
# The packages start no service of their own: the tests run nginx from their own directory.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
# shellcheck disable=SC2086  # the list is meant to be split
if ! $as_root apt-get install -y --no-install-recommends $missing >&2; then
    $as_root apt-get update >&2
    # shellcheck disable=SC2086
    $as_root apt-get install -y --no-install-recommends $missing >&2
fi
